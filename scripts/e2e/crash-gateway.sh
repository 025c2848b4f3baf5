#!/usr/bin/env bash
# The gateway is killed under load, again and again. It keeps nothing durable,
# and yet every write that was replied to is there when it is back.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin
cluster_new
crashload --rounds "${ROUNDS:-3}" --keep replied --crash "$(hook crash gateway)" --revive "$(hook start_gateway)"
say "the same with writes of a part of a block"
crashload --rounds "${ROUNDS:-3}" --keep replied --unit 4096 --units 2048 \
	--crash "$(hook crash gateway)" --revive "$(hook start_gateway)"
