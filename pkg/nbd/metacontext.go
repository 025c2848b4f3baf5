package nbd

// The metadata contexts of the server: base:allocation is the only one.

// listMetaContext names the contexts that match the queries. The ids in its
// replies are reserved: 0.
func (h *handshake) listMetaContext(data []byte) error {
	name, queries, ok := parseQueries(data)
	if !ok {
		return h.refuse(optListMetaContext, repErrInvalid, "malformed queries")
	}
	if _, ok := h.find(name); !ok {
		return h.refuse(optListMetaContext, repErrUnknown, "unknown export %q", name)
	}
	match := len(queries) == 0
	for _, query := range queries {
		match = match || query == contextNamespace || query == contextAllocation
	}
	return h.replyContext(optListMetaContext, match, 0)
}

// setMetaContext selects contexts for the named export, instead of what was
// selected before, also when it fails.
func (h *handshake) setMetaContext(data []byte) error {
	h.allocation = false
	if !h.structured {
		return h.refuse(optSetMetaContext, repErrInvalid, "structured replies are off")
	}
	name, queries, ok := parseQueries(data)
	if !ok {
		return h.refuse(optSetMetaContext, repErrInvalid, "malformed queries")
	}
	if _, ok := h.find(name); !ok {
		return h.refuse(optSetMetaContext, repErrUnknown, "unknown export %q", name)
	}
	for _, query := range queries {
		h.allocation = h.allocation || query == contextAllocation
	}
	h.selected = name
	return h.replyContext(optSetMetaContext, h.allocation, contextAllocationID)
}

// replyContext sends the one context, if it matches, and the end of the list.
func (h *handshake) replyContext(option uint32, match bool, id uint32) error {
	var b []byte
	if match {
		data := append(be.AppendUint32(nil, id), contextAllocation...)
		b = appendOptionReply(b, option, repMetaContext, data)
	}
	return h.write(appendOptionReply(b, option, repAck, nil))
}

// parseQueries takes the data of an option about contexts apart.
func parseQueries(data []byte) (name string, queries []string, ok bool) {
	name, rest, ok := parseName(data)
	if !ok || len(rest) < 4 {
		return "", nil, false
	}
	count := be.Uint32(rest)
	rest = rest[4:]
	// count is not trusted: the loop ends where the data does.
	for range count {
		var query []byte
		if query, rest, ok = parseString(rest); !ok {
			return "", nil, false
		}
		queries = append(queries, string(query))
	}
	return name, queries, len(rest) == 0
}
