#!/usr/bin/env bash
# Chunk servers are killed under load and come back: one, two, which is what the
# volume has parity for, and five at once. The gateway lives, so that no replied
# write may be gone; with five away requests wait, and may fail.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin
cluster_new
for count in 1 2; do
	say "$count of ${#NODES[@]} nodes"
	crashload --rounds "${ROUNDS:-2}" --keep replied \
		--crash "$(hook crash_nodes "$count")" --revive "$(hook start_nodes)"
done
say "5 of ${#NODES[@]} nodes, writes of a part of a block"
crashload --rounds "${ROUNDS:-2}" --keep replied --unit 4096 --units 2048 --errors \
	--crash "$(hook crash_nodes 5)" --revive "$(hook start_nodes)"
