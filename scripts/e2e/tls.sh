#!/usr/bin/env bash
# With TLS over TCP between the gateway and the nodes: fio's verification, peers
# without the right certificate, and garbage to the ports. E2E_TRANSPORT=tls makes
# any other script use it too.
set -euo pipefail
export E2E_TRANSPORT=tls
for name in fio certificates garbage; do
	"$(dirname "${BASH_SOURCE[0]}")/$name.sh"
done
