// Package messaging is the core of Patchbay: it moves messages between an
// application and its peers over a transport that a URL picks, and defines the
// contract that a driver of such a transport fulfils.
//
// Applications mostly use package rpc, and of this package the words it shares
// with them:
//
//   - a Registry opens a Transport for a URL;
//   - a Target says where a message goes, or where a server listens;
//   - errors match the sentinels of this package with errors.Is: what became of
//     a send is one of accepted (nil), ErrRejected, ErrNoRoute, ErrNotSent and
//     ErrOutcomeUnknown.
//
// # Layers
//
// An Envelope is what the core and package rpc understand: kind, ids, context,
// deadline, body. A Codec turns it into a Message, which a driver moves without
// understanding it, between an Address and whoever listens there. The Transport
// stands between the two, and does once what every driver would do otherwise:
//
//   - it shares connections for sending, replaces lost ones over the URL's
//     hosts, and never sends and listens on the same one, since brokers block
//     the connections that publish (but without a broker, and where the user
//     wants it: see Sharer);
//   - it retries what was certainly not sent, and nothing else but replies, of
//     which a caller takes the first;
//   - its streams listen again after a lost connection, with the same names;
//   - it drops duplicates by message id, matches replies to calls, and tells
//     calls whose connection, server or reply address was lost.
//
// ctx is the only clock: every wait ends with it, and nothing has a timeout of
// its own but single attempts to dial.
//
// # Writing a driver
//
// driver.go and envelope.go are the contract, docs/driver-guide.md walks
// through it, and package conformance proves it.
package messaging
