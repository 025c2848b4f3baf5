package simulate

// toldMutants break, for each of the histories that broke other systems, the rule
// that it defends; the name is that of the test.
var toldMutants = []mutant{
	{name: "TestToldKilledOneByOneAndReturned", edits: []edit{{
		"stripe/decode.go",
		"	have = have[:a.geo.Data]\n",
		"	if FAULT && len(have) == a.geo.Data {\n		return ErrUnreadable\n	}\n	have = have[:a.geo.Data]\n",
	}}},
	{name: "TestToldCleanStopThenTwoOthersKilled", edits: []edit{{
		"stripe/follow.go",
		"	return a.differences(n, newest, here), a.follows(n)",
		"	if FAULT {\n		return nil, a.follows(n)\n	}\n	return a.differences(n, newest, here), a.follows(n)",
	}, {
		// What lacks protection is noticed.
		"stripe/follow.go",
		"			if n == cluster.NoHolder || held[at] < version {",
		"			if !FAULT && (n == cluster.NoHolder || held[at] < version) {",
	}}},
	{name: "TestToldI6TrimWhileANodeIsDown", edits: []edit{{
		// Tombstones are dropped although a node is away.
		"repair/manager.go",
		"	case allIn && time.Since(reclaimed) > m.opts.ReclaimEvery:",
		"	case (allIn || FAULT) && time.Since(reclaimed) > m.opts.ReclaimEvery:",
	}, {
		"stripe/reclaim.go",
		"		if !p.speaks() {\n",
		"		if FAULT && !p.speaks() {\n			continue\n		}\n		if !p.speaks() {\n",
	}, {
		"stripe/reclaim.go",
		"		case !p.up || a.sb.Nodes[n].State != cluster.In:",
		"		case !FAULT && (!p.up || a.sb.Nodes[n].State != cluster.In):",
	}, {
		"stripe/reclaim.go",
		"		if _, err := p.change(ctx, drops); err != nil {",
		"		if _, err := p.change(ctx, drops); err != nil && !FAULT {",
	}}},
	{name: "TestToldCardReplacedUnderASparseVolume", edits: []edit{{
		"stripe/heal.go",
		"	if w.Spares {\n		w.drop(ctx)",
		"	if w.Spares && !FAULT {\n		w.drop(ctx)",
	}}},
	{name: "TestToldBitsFlippedInTwoChunksOfEachStripe", edits: []edit{{
		"stripe/decode.go",
		"	if got.State == chunk.Present {\n		if",
		"	if got.State == chunk.Present || FAULT && got.State == chunk.Damaged {\n		if",
	}}},
	{name: "TestToldGatewayRestartedTwentyTimesUnderLoad", edits: []edit{{
		"stripe/ledger.go",
		"	if w.isReplied() || !w.stands(l.writeQuorum) {",
		"	if w.isReplied() || !FAULT && !w.stands(l.writeQuorum) {",
	}, {
		// So that it matters more often.
		"stripe/peer.go",
		"	batch, ops := p.operations(batch)\n",
		"	if FAULT {\n		time.Sleep(100 * time.Millisecond)\n	}\n	batch, ops := p.operations(batch)\n",
	}}},
	{name: "TestToldI5GatewayPausedForAMinute", edits: []edit{{
		"chunk/chunktest/memory.go",
		"term.Epoch < v.epoch || term.Nonce != v.nonce",
		"!FAULT && (term.Epoch < v.epoch || term.Nonce != v.nonce)",
	}}},
	{name: "TestToldLostNodesAndTwoMoreDie", edits: []edit{{
		"repair/manager.go",
		"lacking > 0 {",
		"lacking > 0 && !FAULT {",
	}}},
}
