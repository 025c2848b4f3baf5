// Package daemon turns configuration files into running processes: the chunk
// server, the gateway, the demo; it makes the files in the first place (Init),
// and is the command line's way to a running gateway (Client).
//
// # Files
//
// ChunkserverConfig, GatewayConfig and MonitorConfig are the three TOML files;
// their fields explain the keys, and the samples in configs/ do so for users.
// Whatever is wrong with a file is one error that names the file, the line
// where that is certain, and the key. An unknown key is wrong.
//
// Init makes a cluster's own CA and one folder for each process:
//
//	DIR/ca/       ca.crt ca.key                                stays with the owner
//	DIR/pi1/      chunkserver.toml pi1.crt pi1.key ca.crt      to its card
//	DIR/gateway/  gateway.toml gateway.crt gateway.key ca.crt  to its machine
//	DIR/monitor/  monitor.toml monitor.crt monitor.key ca.crt  wherever it watches
//
// A certificate says who a process is by its one URI,
// rozobox://CLUSTER/ROLE/ID; addresses prove nothing.
//
// # The gateway
//
//	NBD clients ── nbd.Server ── device ── volume.Volume ── stripe.Array ─┐
//	     (one listener or two)    (one of each for every volume)          │
//	people, monitors ── admin API ── Gateway                chunkrpc.Client, one a node
//
// Each volume has a goroutine of its own that opens it, serves it, and opens
// it again: one that lacks nodes says why and keeps no other waiting. A volume
// that another gateway took over stays closed until this process starts anew;
// two gateways that took it from each other would serve nobody.
//
// A stop goes from the outside in: the listeners, the requests that had begun,
// the volumes (flushed, marked clean), the connections to the nodes.
//
// After a clean stop the next gateway serves half a second after its start, after
// a kill it must let 1.25 leases pass, 2.5 s: 0.58 and 3.5 s to the first reply
// here, medians of 5 with the machine busy (scripts/bench-start.sh).
//
// # Upkeep
//
// Each volume has a repair.Manager for as long as it is open. What is said of
// their pace (pause, limit) holds for all volumes, those that open later too,
// and is forgotten with the process: a pause that outlives its reason would
// leave nodes out. To give a node up or to replace its card is one decision
// about several volumes: all are asked first, and nothing is changed when one
// refuses. One such change goes on at a time.
//
// A scrub is asked for and then watched: a client knows its own by the first
// beginning that is another than before. It goes on when the client goes away.
//
// # The demo
//
// Demo runs a whole cluster in one process, on files as Init makes them. What a
// lesson does to a card is done around the card's server, which knows nothing
// of it: a cable that loses packets (chunkrpc.Cable), a hand on the store that
// holds requests back, a wipe between two servers. The film is played by a
// client of the export, as by anybody (package film).
//
// # Who may do what
//
// NBD has no users: whoever reaches its address may read and write, so the
// default is loopback, and beyond that TLS with client certificates is the
// guard. The admin API shows the status to whoever reaches it, over plain
// HTTP; a request that changes something (I8) carries a signature made with
// the gateway's private key over method, path, body and time, good for 30
// seconds and once. Hosts are called by number, so that no web page reaches
// the API by a name of its own.
//
// # Caveats
//
// Adding a node to the lists serves new volumes only: a volume keeps the nodes
// that it was made with. Certificates do not expire (see validUntil). A
// certificate is taken out of service by a new CA.
package daemon
