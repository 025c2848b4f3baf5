package chunkrpc

import (
	"time"

	"rozobox/pkg/chunk"
)

// The layouts of all bodies but those of Write and Read, which are in bulk.go.
// Each append function has its decode function beside it.

func appendTerm(b []byte, t chunk.Term) []byte {
	b = append(b, t.Volume[:]...)
	b = be.AppendUint32(b, t.Epoch)
	b = be.AppendUint64(b, t.Nonce)
	return be.AppendUint64(b, uint64(t.Watermark))
}

func (d *decoder) term() chunk.Term {
	return chunk.Term{
		Volume:    d.id(),
		Epoch:     d.u32(),
		Nonce:     d.u64(),
		Watermark: chunk.Version(d.u64()),
	}
}

func decodeTerm(body []byte) (chunk.Term, error) {
	d := decoder{b: body}
	term := d.term()
	return term, d.finish("term")
}

// empty is a body without fields.
type empty struct{}

func appendEmpty(b []byte, _ empty) []byte { return b }

func decodeEmpty(body []byte) (empty, error) {
	d := decoder{b: body}
	return empty{}, d.finish("empty body")
}

func decodeVolume(body []byte) (chunk.VolumeID, error) {
	d := decoder{b: body}
	id := d.id()
	return id, d.finish("volume")
}

func appendName(b []byte, name chunk.NodeID) []byte {
	b = append(b, byte(len(name)))
	return append(b, name...)
}

func (d *decoder) name() chunk.NodeID {
	return chunk.NodeID(d.limited(int(d.u8()), maxName))
}

func appendHello(b []byte, h chunk.Hello) []byte {
	b = appendName(b, h.Node)
	b = append(b, h.Store[:]...)
	b = append(b, h.Instance[:]...)
	b = appendFlag(b, h.ReadOnly)
	b = be.AppendUint16(b, uint16(len(h.Volumes)))
	for _, v := range h.Volumes {
		b = append(b, v.ID[:]...)
		b = be.AppendUint32(b, v.Epoch)
		b = be.AppendUint64(b, uint64(v.Watermark))
		b = appendFlag(b, v.Deleted)
	}
	return b
}

func decodeHello(body []byte) (chunk.Hello, error) {
	d := decoder{b: body}
	h := chunk.Hello{Node: d.name(), Store: d.id(), Instance: d.id(), ReadOnly: d.flag()}
	for range d.volumes() {
		h.Volumes = append(h.Volumes, chunk.VolumeState{
			ID:        d.id(),
			Epoch:     d.u32(),
			Watermark: chunk.Version(d.u64()),
			Deleted:   d.flag(),
		})
	}
	return h, d.finish("hello")
}

// volumes is the number of volumes that follow, 0 if it cannot be true.
func (d *decoder) volumes() int {
	n := int(d.u16())
	if d.require(n <= chunk.MaxVolumes); d.bad {
		return 0
	}
	return n
}

type grantRequest struct {
	volume chunk.VolumeID
	epoch  uint32
	nonce  uint64
}

func (r grantRequest) append(b []byte) []byte {
	b = append(b, r.volume[:]...)
	b = be.AppendUint32(b, r.epoch)
	return be.AppendUint64(b, r.nonce)
}

func decodeGrant(body []byte) (grantRequest, error) {
	d := decoder{b: body}
	r := grantRequest{volume: d.id(), epoch: d.u32(), nonce: d.u64()}
	return r, d.finish("grant")
}

func appendGranted(b []byte, g chunk.Granted) []byte {
	b = append(b, g.Store[:]...)
	b = append(b, g.Instance[:]...)
	b = be.AppendUint64(b, uint64(g.Watermark))
	b = be.AppendUint64(b, uint64(g.Recovered))
	return appendSuperblock(b, g.Superblock)
}

func decodeGranted(body []byte) (chunk.Granted, error) {
	d := decoder{b: body}
	g := chunk.Granted{
		Store:      d.id(),
		Instance:   d.id(),
		Watermark:  chunk.Version(d.u64()),
		Recovered:  chunk.Version(d.u64()),
		Superblock: d.superblock(),
	}
	return g, d.finish("granted")
}

func appendPulse(b []byte, p chunk.Pulse) []byte {
	b = append(b, p.Instance[:]...)
	b = be.AppendUint64(b, uint64(p.Watermark))
	return be.AppendUint64(b, p.FreeBytes)
}

func decodePulse(body []byte) (chunk.Pulse, error) {
	d := decoder{b: body}
	p := chunk.Pulse{Instance: d.id(), Watermark: chunk.Version(d.u64()), FreeBytes: d.u64()}
	return p, d.finish("pulse")
}

// checkSuperblock refuses what does not fit into a frame.
func checkSuperblock(sb chunk.Superblock) error {
	if len(sb.Name) > chunk.MaxName || len(sb.Body) > chunk.MaxSuperblock {
		return invalid("superblock of %d bytes with a name of %d", len(sb.Body), len(sb.Name))
	}
	return nil
}

func appendSuperblock(b []byte, sb chunk.Superblock) []byte {
	b = append(b, sb.Volume[:]...)
	b = be.AppendUint64(b, sb.Number)
	b = be.AppendUint32(b, sb.Epoch)
	b = appendFlag(b, sb.Deleted)
	b = be.AppendUint16(b, uint16(len(sb.Name)))
	b = append(b, sb.Name...)
	b = be.AppendUint32(b, uint32(len(sb.Body)))
	return append(b, sb.Body...)
}

// superblock copies the body: it outlives the frame.
func (d *decoder) superblock() chunk.Superblock {
	sb := chunk.Superblock{Volume: d.id(), Number: d.u64(), Epoch: d.u32(), Deleted: d.flag()}
	sb.Name = string(d.limited(int(d.u16()), chunk.MaxName))
	sb.Body = append(sb.Body, d.limited(int(d.u32()), chunk.MaxSuperblock)...)
	return sb
}

func decodeSuperblock(body []byte) (chunk.Superblock, error) {
	d := decoder{b: body}
	sb := d.superblock()
	return sb, d.finish("superblock")
}

type putRequest struct {
	term       chunk.Term
	superblock chunk.Superblock
}

func (r putRequest) append(b []byte) []byte {
	return appendSuperblock(appendTerm(b, r.term), r.superblock)
}

func decodePutSuperblock(body []byte) (putRequest, error) {
	d := decoder{b: body}
	r := putRequest{term: d.term(), superblock: d.superblock()}
	return r, d.finish("put superblock")
}

type listRequest struct {
	term chunk.Term
	list chunk.ListRequest
}

func (r listRequest) append(b []byte) []byte {
	b = appendTerm(b, r.term)
	b = be.AppendUint64(b, uint64(r.list.Since))
	b = appendPosition(b, r.list.After)
	b = be.AppendUint64(b, r.list.End)
	return be.AppendUint32(b, uint32(r.list.Limit))
}

func decodeListRequest(body []byte) (listRequest, error) {
	d := decoder{b: body}
	r := listRequest{term: d.term()}
	r.list = chunk.ListRequest{Since: chunk.Version(d.u64()), After: d.position(), End: d.u64()}
	r.list.Limit = int(d.u32())
	d.require(r.list.Limit <= chunk.MaxListEntries)
	return r, d.finish("list")
}

func appendPosition(b []byte, p chunk.Position) []byte {
	b = be.AppendUint64(b, p.Block)
	b = append(b, p.Index)
	return be.AppendUint64(b, uint64(p.Version))
}

func (d *decoder) position() chunk.Position {
	return chunk.Position{Block: d.u64(), Index: d.u8(), Version: chunk.Version(d.u64())}
}

// Flags of an entry.
const (
	entryTombstone = 1 << iota
	entryDamaged
)

// page is a page of List.
type page struct {
	entries []chunk.Entry
	more    bool
}

func appendPage(b []byte, r page) []byte {
	b = appendFlag(b, r.more)
	for _, e := range r.entries {
		b = appendPosition(b, e.Position)
		var flags byte
		if e.Tombstone {
			flags |= entryTombstone
		}
		if e.Damaged {
			flags |= entryDamaged
		}
		b = append(b, flags)
	}
	return b
}

// decodePage returns a page of at most limit entries.
func decodePage(limit int, body []byte) (r page, err error) {
	d := decoder{b: body}
	r.more = d.flag()
	d.require(len(d.b) <= limit*entrySize)
	for len(d.b) > 0 && !d.bad {
		e := chunk.Entry{Position: d.position()}
		flags := d.u8()
		d.require(flags <= entryTombstone|entryDamaged)
		e.Tombstone, e.Damaged = flags&entryTombstone != 0, flags&entryDamaged != 0
		r.entries = append(r.entries, e)
	}
	return r, d.finish("page")
}

func appendStat(b []byte, s chunk.Stat) []byte {
	b = appendName(b, s.Node)
	b = append(b, s.Store[:]...)
	b = append(b, s.Instance[:]...)
	b = appendFlag(b, s.ReadOnly)
	for _, v := range [...]uint64{
		s.CapacityBytes, s.UsedBytes, s.FreeBytes, s.Chunks, s.Reads, s.Writes,
		s.ReadBytes, s.WriteBytes, s.Syncs, uint64(s.Idle), uint64(s.Uptime),
	} {
		b = be.AppendUint64(b, v)
	}
	b = appendHost(b, s.Host)
	b = be.AppendUint16(b, uint16(len(s.Volumes)))
	for _, v := range s.Volumes {
		b = append(b, v.ID[:]...)
		b = be.AppendUint64(b, v.Chunks)
		b = be.AppendUint64(b, v.StoredBytes)
	}
	return b
}

func decodeStat(body []byte) (chunk.Stat, error) {
	d := decoder{b: body}
	s := chunk.Stat{Node: d.name(), Store: d.id(), Instance: d.id(), ReadOnly: d.flag()}
	for _, v := range [...]*uint64{
		&s.CapacityBytes, &s.UsedBytes, &s.FreeBytes, &s.Chunks, &s.Reads, &s.Writes,
		&s.ReadBytes, &s.WriteBytes, &s.Syncs,
	} {
		*v = d.u64()
	}
	s.Idle, s.Uptime = time.Duration(d.u64()), time.Duration(d.u64())
	s.Host = d.host()
	for range d.volumes() {
		s.Volumes = append(s.Volumes, chunk.VolumeStat{
			ID: d.id(), Chunks: d.u64(), StoredBytes: d.u64(),
		})
	}
	return s, d.finish("stat")
}

func appendHost(b []byte, h chunk.HostStat) []byte {
	for _, v := range [...]uint64{
		uint64(h.At), uint64(h.CPUBusy), uint64(h.CPUTotal), h.MemoryUsedBytes, h.MemoryBytes,
		h.MilliKelvin, h.NetInBytes, h.NetOutBytes, h.DiskInBytes, h.DiskOutBytes,
	} {
		b = be.AppendUint64(b, v)
	}
	return b
}

func (d *decoder) host() chunk.HostStat {
	return chunk.HostStat{
		At: time.Duration(d.u64()), CPUBusy: time.Duration(d.u64()), CPUTotal: time.Duration(d.u64()),
		MemoryUsedBytes: d.u64(), MemoryBytes: d.u64(), MilliKelvin: d.u64(),
		NetInBytes: d.u64(), NetOutBytes: d.u64(), DiskInBytes: d.u64(), DiskOutBytes: d.u64(),
	}
}
