package discovery

import "context"

// Static returns a view that never changes.
func Static(endpoints []string) Discovery { return static(endpoints) }

type static []string

// Register implements Discovery: whoever should know of this node has its
// endpoint in the URL.
func (static) Register(context.Context, string) (Lease, error) { return noLease{}, nil }

// Watch implements Discovery.
func (s static) Watch(_ context.Context, see func([]string)) error {
	see(s)
	return nil
}

// Close implements Discovery.
func (static) Close(context.Context) error { return nil }

type noLease struct{}

func (noLease) Release(context.Context) error { return nil }
