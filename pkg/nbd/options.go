package nbd

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// exportNamePadding follows the reply to EXPORT_NAME, unless both sides agreed
// to leave it out.
const exportNamePadding = 124

// answer does what one option asks. An error ends the connection.
func (h *handshake) answer(option uint32, data []byte) error {
	switch {
	case option == optAbort:
		// The client may be gone already.
		_ = h.reply(option, repAck, nil)
		return errHandshakeOver
	case h.ctx.Err() != nil:
		return h.refuseForShutdown(option)
	case h.server.opts.RequireTLS && !h.secure && option != optStartTLS:
		return h.demandTLS(option)
	}
	switch option {
	case optExportName:
		return h.exportName(string(data))
	case optList:
		return h.list(data)
	case optStartTLS:
		return h.startTLS(data)
	case optInfo, optGo:
		return h.info(option, data)
	case optStructuredReply:
		return h.structuredReply(data)
	case optListMetaContext:
		return h.listMetaContext(data)
	case optSetMetaContext:
		return h.setMetaContext(data)
	case optExtendedHeaders:
		return h.extendedHeaders(data)
	}
	return h.refuse(option, repErrUnsup, "option %d is not supported", option)
}

// refuseForShutdown tells the client, where the option has a reply, and ends.
func (h *handshake) refuseForShutdown(option uint32) error {
	if option != optExportName {
		_ = h.refuse(option, repErrShutdown, "server is shutting down")
	}
	return ErrShutdown
}

func (h *handshake) demandTLS(option uint32) error {
	if option == optExportName {
		return errors.New("EXPORT_NAME without TLS")
	}
	return h.refuse(option, repErrTLSReqd, "this server requires TLS")
}

// find returns the export of that name, if there is one.
func (h *handshake) find(name string) (*export, bool) {
	device, ok := h.server.opts.Exports.Export(name)
	if !ok {
		return nil, false
	}
	return newExport(name, device, h.server.opts.ReadOnly), true
}

// enter begins the transmission phase with e, which reply tells the client.
// From then on it takes itself for served, so that no newer one may end it.
func (h *handshake) enter(e *export, reply []byte) error {
	h.leave()
	h.allocation = h.allocation && h.selected == e.name
	h.export = e
	return h.write(reply)
}

// exportName is the oldest way to choose an export. It cannot be refused other
// than by hanging up.
func (h *handshake) exportName(name string) error {
	if h.extended {
		return errors.New("EXPORT_NAME after EXTENDED_HEADERS")
	}
	if len(name) > maxString {
		return fmt.Errorf("export name of %d bytes", len(name))
	}
	e, ok := h.find(name)
	if !ok {
		return fmt.Errorf("unknown export %q", name)
	}
	b := be.AppendUint64(nil, uint64(e.device.Size()))
	b = be.AppendUint16(b, e.flags(h.structured))
	if h.flags&flagNoZeroes == 0 {
		b = append(b, make([]byte, exportNamePadding)...)
	}
	return h.enter(e, b)
}

// list names every export, with its description.
func (h *handshake) list(data []byte) error {
	if len(data) != 0 {
		return h.refuse(optList, repErrInvalid, "LIST takes no data")
	}
	var b []byte
	for _, name := range h.server.opts.Exports.Names() {
		entry := append(be.AppendUint32(nil, uint32(len(name))), name...)
		if device, ok := h.server.opts.Exports.Export(name); ok {
			entry = append(entry, describe(device)...)
		}
		b = appendOptionReply(b, optList, repServer, entry)
	}
	return h.write(appendOptionReply(b, optList, repAck, nil))
}

// startTLS turns the connection into TLS and forgets all that was agreed.
func (h *handshake) startTLS(data []byte) error {
	switch {
	case h.server.tls == nil:
		return h.refuse(optStartTLS, repErrUnsup, "this server has no TLS")
	case h.secure:
		return h.refuse(optStartTLS, repErrInvalid, "TLS is on already")
	case len(data) != 0:
		return h.refuse(optStartTLS, repErrInvalid, "STARTTLS takes no data")
	}
	if err := h.reply(optStartTLS, repAck, nil); err != nil {
		return err
	}
	stream := tls.Server(readerConn{h.stream, h.in}, h.server.tls)
	if err := stream.HandshakeContext(h.ctx); err != nil {
		return err
	}
	h.session = session{
		stream: stream, in: bufio.NewReaderSize(stream, readBuffer), secure: true,
	}
	h.selected = ""
	return nil
}

// info answers INFO and GO. Both are worked out from their own data alone, so
// that an earlier INFO cannot change what a GO does.
func (h *handshake) info(option uint32, data []byte) error {
	name, kinds, ok := parseInfo(data)
	if !ok {
		return h.refuse(option, repErrInvalid, "malformed request for an export")
	}
	e, ok := h.find(name)
	if !ok {
		return h.refuse(option, repErrUnknown, "unknown export %q", name)
	}
	var b []byte
	for _, kind := range kinds {
		if data := e.info(kind, h.structured); data != nil {
			b = appendOptionReply(b, option, repInfo, data)
		}
	}
	b = appendOptionReply(b, option, repAck, nil)
	if option == optGo {
		return h.enter(e, b)
	}
	return h.write(b)
}

// parseInfo takes the data of INFO or GO apart. The kinds of information are
// those to be sent, each once: the export itself, then what was asked for.
func parseInfo(data []byte) (name string, kinds []uint16, ok bool) {
	name, rest, ok := parseName(data)
	if !ok || len(rest) < 2 || len(rest)-2 != 2*int(be.Uint16(rest)) {
		return "", nil, false
	}
	kinds = []uint16{infoExport}
	for rest = rest[2:]; len(rest) > 0; rest = rest[2:] {
		kind := be.Uint16(rest)
		if kind <= infoBlockSize && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return name, kinds, true
}

// parseName takes an export's name, and what follows it, from an option.
func parseName(data []byte) (name string, rest []byte, ok bool) {
	raw, rest, ok := parseString(data)
	name = string(raw)
	if !ok || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return "", nil, false
	}
	return name, rest, true
}

// parseString takes a string, and what follows it, from an option.
func parseString(data []byte) (s, rest []byte, ok bool) {
	if len(data) < 4 {
		return nil, nil, false
	}
	n := be.Uint32(data)
	if n > maxString || int(n) > len(data)-4 {
		return nil, nil, false
	}
	return data[4 : 4+n], data[4+n:], true
}

// structuredReply turns structured replies on.
func (h *handshake) structuredReply(data []byte) error {
	switch {
	case len(data) != 0:
		return h.refuse(optStructuredReply, repErrInvalid, "STRUCTURED_REPLY takes no data")
	case h.extended:
		return h.refuse(optStructuredReply, repErrExtHeaderReqd, "extended headers are on")
	}
	h.structured = true
	return h.reply(optStructuredReply, repAck, nil)
}

// extendedHeaders turns extended headers, and with them structured replies, on.
func (h *handshake) extendedHeaders(data []byte) error {
	switch {
	case len(data) != 0:
		return h.refuse(optExtendedHeaders, repErrInvalid, "EXTENDED_HEADERS takes no data")
	case h.extended:
		return h.refuse(optExtendedHeaders, repErrInvalid, "extended headers are on already")
	}
	h.structured, h.extended = true, true
	return h.reply(optExtendedHeaders, repAck, nil)
}

// cutText makes s valid UTF-8 of at most n bytes.
func cutText(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
