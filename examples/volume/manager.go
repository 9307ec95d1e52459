package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Manager is the volume service of a host. Its volumes are numbers in a map: this is
// about messages.
type Manager struct {
	host     string
	notifier *notify.Notifier

	mu      sync.Mutex
	volumes map[string]Volume
}

// NewManager returns the service of a host, whose notifications go to t.
func NewManager(t *messaging.Transport, host string) *Manager {
	return &Manager{
		host:     host,
		notifier: notify.NewNotifier("volume."+host, []notify.Driver{notify.Messaging(t, nil)}, nil),
		volumes:  make(map[string]Volume),
	}
}

// Server returns the server of a host. It serves two versions, so that clients of both
// are content while the service is being upgraded; it is acknowledged after a
// request was handled, so that what a host that dies had in hand is done by its
// successor: handlers can be run twice with the same request, and do not mind.
func (m *Manager) Server(t *messaging.Transport) (*rpc.Server, error) {
	v1 := &rpc.Endpoint{Version: "1.1"}
	rpc.Handle(v1, "create_volume", func(ctx context.Context, a createArgsV1) (rpc.None, error) {
		return rpc.None{}, m.create(ctx, Volume{ID: a.ID, Size: a.Size})
	})
	v2 := &rpc.Endpoint{Version: "2.1"}
	rpc.Handle(v2, "create_volume", func(ctx context.Context, a createArgs) (rpc.None, error) {
		return rpc.None{}, m.create(ctx, a.Volume)
	})
	rpc.Handle(v2, "get_capabilities", func(context.Context, rpc.None) (Capabilities, error) {
		return Capabilities{Host: m.host, Types: []string{"", "ssd"}}, nil
	})
	for _, ep := range []*rpc.Endpoint{v1, v2} {
		rpc.Handle(ep, "get_volume", m.get)
		rpc.Handle(ep, "extend_volume", m.extend)
		rpc.Handle(ep, "delete_volume", m.delete)
	}
	return rpc.NewServer(t, messaging.Target{Topic: topic, Server: m.host}, []*rpc.Endpoint{v1, v2}, &rpc.ServerOptions{
		Ack:  rpc.AckLate,
		Ping: true, // for `patchbay ping`
	})
}

// event is the payload of a notification.
type event struct {
	VolumeID string `json:"volume_id"`
	Size     int    `json:"size,omitempty"`
	Host     string `json:"host"`
	Reason   string `json:"reason,omitempty"`
}

// tell publishes what becomes of a volume, at the priority that fits. That nobody could
// be told does not undo it.
func (m *Manager) tell(ctx context.Context, what string, v Volume, err error) {
	e := event{VolumeID: v.ID, Size: v.Size, Host: m.host}
	p := notify.Info
	if err != nil {
		p, what, e.Reason = notify.Error, what+".error", err.Error()
	}
	if err := m.notifier.Notify(ctx, p, "volume."+what, e); err != nil {
		slog.WarnContext(ctx, "a notification is lost", "error", err)
	}
}

func (m *Manager) create(ctx context.Context, v Volume) error {
	m.tell(ctx, "create.start", v, nil)
	v.Status = "available"
	m.mu.Lock()
	m.volumes[v.ID] = v
	m.mu.Unlock()
	m.tell(ctx, "create.end", v, nil)
	return nil
}

// find returns a volume; m.mu is held. Its error is an exception of the class that a
// Python client can let through.
func (m *Manager) find(id string) (Volume, error) {
	v, ok := m.volumes[id]
	if !ok {
		return Volume{ID: id}, rpc.NewError("volume.exception", "VolumeNotFound", fmt.Sprintf("volume %s is not on %s", id, m.host))
	}
	return v, nil
}

func (m *Manager) get(_ context.Context, a volumeID) (Volume, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(a.ID)
}

func (m *Manager) extend(ctx context.Context, a extendArgs) (Volume, error) {
	m.mu.Lock()
	v, err := m.find(a.ID)
	if err == nil {
		v.Size = max(v.Size, a.Size)
		m.volumes[a.ID] = v
	}
	m.mu.Unlock()
	m.tell(ctx, "extend", v, err)
	return v, err
}

func (m *Manager) delete(ctx context.Context, a volumeID) (rpc.None, error) {
	m.mu.Lock()
	v, err := m.find(a.ID)
	delete(m.volumes, a.ID)
	m.mu.Unlock()
	m.tell(ctx, "delete", v, err)
	return rpc.None{}, err // which nobody gets: it was a cast, and the notification is all that tells
}
