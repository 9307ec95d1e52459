package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// topic is where the servers listen, each also on its host's name alone.
const topic = "volume-example"

// ErrNotFound: a host does not have such a volume.
var ErrNotFound = errors.New("no such volume")

// Volume is what client and server tell each other.
type Volume struct {
	ID     string `json:"id"`
	Size   int    `json:"size"` // GiB
	Type   string `json:"type,omitempty"`
	Status string `json:"status,omitempty"`
}

// API is what other services know of the volume service. Who writes Python calls
// it an rpcapi class, and keeps the history of its versions in its comment, too:
//
//	1.0  create_volume(volume_id, size), get_volume(volume_id), delete_volume(volume_id)
//	1.1  extend_volume(volume_id, size)
//	2.0  create_volume(volume), whose volume has a type; the others as they were
//	2.1  get_capabilities()
type API struct {
	client *rpc.Client
}

// NewAPI returns an API that sends nothing newer than a server of version can serve:
// while servers are being upgraded it is that of the oldest. "" is the newest.
func NewAPI(t *messaging.Transport, version string) *API {
	return &API{rpc.NewClient(t, messaging.Target{Topic: topic}, &rpc.ClientOptions{
		VersionCap: version,
		Errors:     rpc.ErrorMap{"volume.exception.VolumeNotFound": ErrNotFound}.Lookup,
	})}
}

// on returns a client of a host at the newest of the versions, given from new to old,
// that may be sent.
func (a *API) on(host string, versions ...string) *rpc.Client {
	c := a.client.Prepare(rpc.WithServer(host), rpc.WithVersion(versions[0]))
	if !c.CanSendVersion("") && len(versions) > 1 {
		return a.on(host, versions[1:]...)
	}
	return c
}

type (
	volumeID struct {
		ID string `json:"volume_id"`
	}
	createArgs struct {
		Volume Volume `json:"volume"`
	}
	createArgsV1 struct {
		ID   string `json:"volume_id"`
		Size int    `json:"size"`
	}
	extendArgs   = createArgsV1
	Capabilities struct {
		Host  string   `json:"host"`
		Types []string `json:"types"`
	}
)

// Create has a host create a volume, and does not wait until it has: it is a cast.
// Get, or a notification, tells when it is there.
func (a *API) Create(ctx context.Context, host string, v Volume) error {
	if c := a.on(host, "2.0"); c.CanSendVersion("") {
		return c.Cast(ctx, "create_volume", createArgs{v})
	}
	if v.Type != "" {
		return fmt.Errorf("creating volume %s of type %s: %w", v.ID, v.Type, rpc.ErrVersionCap)
	}
	return a.on(host, "1.0").Cast(ctx, "create_volume", createArgsV1{v.ID, v.Size})
}

// Get returns a volume of a host. One that is not there is ErrNotFound.
func (a *API) Get(ctx context.Context, host, id string) (Volume, error) {
	return rpc.CallFor[Volume](ctx, a.on(host, "2.0", "1.0"), "get_volume", volumeID{id})
}

// Extend makes a volume larger, and returns it. A service older than 1.1 cannot: that
// is rpc.ErrVersionCap.
func (a *API) Extend(ctx context.Context, host, id string, size int) (Volume, error) {
	return rpc.CallFor[Volume](ctx, a.on(host, "2.0", "1.1"), "extend_volume", extendArgs{id, size})
}

// Delete has a host delete a volume; like Create it does not wait.
func (a *API) Delete(ctx context.Context, host, id string) error {
	return a.on(host, "2.0", "1.0").Cast(ctx, "delete_volume", volumeID{id})
}

// Capabilities asks any one host.
func (a *API) Capabilities(ctx context.Context) (Capabilities, error) {
	return rpc.CallFor[Capabilities](ctx, a.on("", "2.1"), "get_capabilities", nil)
}
