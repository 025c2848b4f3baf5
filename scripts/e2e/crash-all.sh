#!/usr/bin/env bash
# Gateway and all chunk servers are killed at once under load. Every write that
# was flushed is there afterwards, and every block is one write, whole.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin
cluster_new
crashload --rounds "${ROUNDS:-3}" --keep flushed --errors --crash "$(hook crash_all)" --revive "$(hook start_all)"
say "the same with writes of a part of a block"
crashload --rounds "${ROUNDS:-3}" --keep flushed --errors --unit 4096 --units 2048 \
	--crash "$(hook crash_all)" --revive "$(hook start_all)"
