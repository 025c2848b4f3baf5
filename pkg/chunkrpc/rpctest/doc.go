// Package rpctest has what a cluster needs to be played within a synctest
// bubble: a Network, in which time is that of the bubble, and an Authority for
// the certificates.
//
// The Network carries UDP packets, over the simulated links of quic-go's own
// tests, and TCP connections. A function decides what becomes of each packet.
package rpctest
