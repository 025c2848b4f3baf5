// Package chunkstore is the store on a card. Its Store keeps the contract of
// pkg/chunk in one directory.
package chunkstore
