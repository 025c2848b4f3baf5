// Package watch keeps an eye on a cluster's nodes and makes metrics.Cluster of
// what they say, several times a second, for as long as somebody looks.
//
// The same code runs in a monitor, which asks the nodes over connections of its
// own and therefore sees them while the gateway is down, and in the gateway,
// which asks over those that it has. What only a gateway knows comes in through
// Options.Known.
//
// # Promises
//
//   - Each node is asked on its own: a silent one delays nothing.
//   - A node that falls silent is unavailable within every + patience + settle,
//     1.3 s; one that begins to work shows it within every + settle, 0.6 s, and
//     for a second after its last chunk.
//   - Rates come from two answers of the same instance, by its own clock: a
//     restart, a lost answer or a late one never makes a rate negative or
//     wrong, only older.
//   - A reader that is slow gets fewer pictures, never older ones, and holds up
//     nobody.
package watch
