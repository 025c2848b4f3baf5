// Package host tells what the machine under a chunk server does: processor,
// memory, temperature, network, disks. It says it in counters that only grow,
// so that whoever looks, and however often, can compute rates of its own.
//
// What is counted is the machine's own: disks and network interfaces that have
// a device behind them, and the loopback interface, which is where the nodes of
// a demonstration talk. Partitions, loops, bridges and tunnels would count the
// same bytes twice.
//
// # Caveats
//
// Disks and interfaces are told apart by Linux's /sys; elsewhere all that the
// kernel names are counted. Temperatures of anything but processors are taken
// only where there is no sensor of those. In a container the figures are those
// of the machine, or of nothing, as its /proc has it.
//
// # What it costs
//
//	go test -run xxx -bench . ./pkg/metrics/host
//
// On one of 2 cores (virtual, amd64, shared with other work) a sample takes
// 0.25 ms of processor time, one in ten of them with the survey of devices and
// sensors. Once a second, that is 0.025 % of a core.
package host
