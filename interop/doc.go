// Package interop proves that Patchbay and oslo.messaging understand each
// other: its tests put live Python peers and Go ones on the same broker, each
// in both roles. What is proven is listed in docs/openstack.md.
//
// The peers are in python/; setup, which is `make python`, makes the environment
// that they run in.
package interop
