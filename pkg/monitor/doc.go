// Package monitor draws a cluster in a terminal: the cards, the gateway, a
// stripe, events; live, or from a recording.
//
// # The screen
//
//	 Rozobox classroom  1 unavailable  4 working  3 idle          12:00:00   counts, time of the snapshot
//	╔ pi1 ── ● working ╗┌pi2──× unavailable┐┌ pi3 ───── ○ idle ┐ ...        double border: chosen
//	║192.168.178.101   ║│192.168.178.102   ││192.168.178.103   │
//	║cpu  12%  mem  11%║│no answer for 3 s:││cpu   3%  mem  11%│
//	║card 14%      47°C║│connection lost   ││card 21%      41°C│
//	║net  ↓2.1k ↑252k  ║│                  ││net  ↓2.1k ↑1.9k  │            bytes a second in and out
//	║disk ↓0 ↑251k     ║│                  ││disk ↓0 ↑0        │            written and read
//	║r 15 w 0 ▄▆▅▃▆▄▇▅▇║│▁▄▆▄▁▁            ││r 0 w 0 ▁▁▁▁▁▁▁▁▁▁│            chunks a second
//	╚══════════════════╝└ ! out ───────────┘└ ↻ resyncing 43% ─┘            what stands apart
//	 gateway  ○ healthy  read 1.1 MB/s  write 0 B/s  dirty 0 B  hedged 0.2/s
//	 film buffer █████████░░░░ 7.2/10 s  pause 23 ms  checked 312 MiB, all right
//	 p50/p99: read 2.1/9.4 ms  write -/-  0 under-protected
//	 resync pi3 ██████░░░░░░░ 43%  80 s left  2.1 MB/s  volume film
//	 volume film  serving  all blocks protected  1.0 GiB stored of 10 GiB
//	 11:59:56 info  film is served
//	 ? help  q quit  enter card  t stripe  e events  arrows choose
//
// Other pages show one card with its history, one stripe, the events, and help.
//
// # Types
//
// Render draws a metrics.Cluster as a View has it; it is a pure function. Run
// is the program around it. Recorder writes snapshots into a file, Player plays
// them again.
//
// # Promises
//
//   - Render fills any size of terminal, and exceeds none: what does not fit is
//     left out, the least important first. Boxes become a list. It bears any
//     snapshot, and sends the terminal no control characters out of one.
//   - A colour always has a sign and a word beside it. Without Color, or with
//     NO_COLOR set, there are no escape sequences in what is drawn.
//   - What is not known is shown as such, not as 0. Without a gateway the cards
//     are still shown.
//   - The screen is drawn anew when there is something new, at most 4 times a
//     second; at once when a card's state has changed, and after a key.
//
// # Recordings
//
// A recording has one metrics.Cluster as JSON on each line, of less than 1 MiB.
// An event stands only in the first line that has it; Player gathers them. A
// last line that was cut off, as by a power cut, is left out.
package monitor
