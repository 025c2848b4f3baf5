// Package chunktest holds what tests of chunk stores and of their users need:
//
//   - Memory, the reference store: the contract of pkg/chunk in its simplest
//     form, with a switch for losing power. Other packages test against it.
//   - Suite, the conformance suite that every chunk.Store passes.
//
// Memory keeps two states: what is live, and what is durable. Every change
// goes to the live state and into a log; Sync plays the log onto the durable
// state; Crash makes the durable state and a prefix of the log live again:
//
//	Write ──> live            Crash(keep): live = durable + first keep of log
//	   └────> log ──Sync──> durable
package chunktest
