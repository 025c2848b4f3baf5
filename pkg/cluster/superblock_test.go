package cluster

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"strings"
	"testing"

	"rozobox/pkg/chunk"
)

// testSuperblock uses every field.
func testSuperblock() *Superblock {
	s := &Superblock{
		Volume: testVolume, Name: "demo-ä", Geometry: testGeometry(),
		Number: 7, Epoch: 3, Watermark: chunk.MakeVersion(2, 99),
		Incarnation: 5, Clean: true, Generation: 1, Nodes: testNodes(8),
	}
	s.Nodes[1].State, s.Nodes[1].Since, s.Nodes[1].Behind = Out, chunk.MakeVersion(1, 5), true
	s.Nodes[2].State, s.Nodes[2].Since = Lost, 4
	s.Nodes[4].Mark = chunk.MakeVersion(2, 98)
	s.Nodes[3].Weight, s.Nodes[3].Store, s.Nodes[3].Instance = 500, chunk.StoreID{1}, chunk.InstanceID{2}
	return s
}

func TestSuperblockRoundTrip(t *testing.T) {
	deleted := testSuperblock()
	deleted.Deleted, deleted.Clean = true, false
	largest := testSuperblock()
	largest.Name = strings.Repeat("n", chunk.MaxName)
	largest.Nodes = testNodes(chunk.MaxNodes)
	for i := range largest.Nodes {
		largest.Nodes[i].ID += chunk.NodeID(strings.Repeat("x", MaxNodeID-len(largest.Nodes[i].ID)))
	}
	for _, s := range []*Superblock{testSuperblock(), deleted, largest} {
		record := s.Encode()
		if len(record.Body) > chunk.MaxSuperblock {
			t.Errorf("body of %d bytes", len(record.Body))
		}
		got, err := Decode(record)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Errorf("decoded %+v, want %+v", got, s)
		}
	}
}

// Every byte of the body is covered: by the checksum, and where that was made
// right again, by the outer record or by the rules; what then still decodes
// must encode to the same bytes.
func TestDecodeRefusesDamage(t *testing.T) {
	record := testSuperblock().Encode()
	for i := range record.Body {
		damaged := record
		damaged.Body = append([]byte(nil), record.Body...)
		damaged.Body[i] ^= 0x10
		if _, err := Decode(damaged); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
	}
	for n := range record.Body {
		cut := record
		cut.Body = record.Body[:n]
		if _, err := Decode(cut); err == nil {
			t.Errorf("cut off at %d: accepted", n)
		}
		cut.Body = reseal(record.Body[:n])
		if _, err := Decode(cut); err == nil {
			t.Errorf("cut off at %d with a right checksum: accepted", n)
		}
	}
	record.Body = reseal(append(record.Body[:len(record.Body)-sumSize:len(record.Body)-sumSize], make([]byte, 5)...))
	if _, err := Decode(record); err == nil {
		t.Error("a byte too many with a right checksum: accepted")
	}
}

// reseal returns body with its last four bytes replaced by the right checksum.
func reseal(body []byte) []byte {
	b := append([]byte(nil), body[:max(0, len(body)-sumSize)]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestDecodeRefusesAnotherRecord(t *testing.T) {
	for name, change := range map[string]func(*chunk.Superblock){
		"volume":  func(r *chunk.Superblock) { r.Volume[0]++ },
		"number":  func(r *chunk.Superblock) { r.Number++ },
		"epoch":   func(r *chunk.Superblock) { r.Epoch++ },
		"name":    func(r *chunk.Superblock) { r.Name = "other" },
		"deleted": func(r *chunk.Superblock) { r.Deleted = true },
	} {
		record := testSuperblock().Encode()
		change(&record)
		if _, err := Decode(record); err == nil {
			t.Errorf("%s differs: accepted", name)
		}
	}
}

func TestDecodeTellsAnotherFormatFromDamage(t *testing.T) {
	record := testSuperblock().Encode()
	record.Body[4] = 2
	if _, err := Decode(record); err == nil || errors.Is(err, ErrFormat) {
		t.Errorf("damaged format byte: %v", err)
	}
	record.Body = reseal(record.Body)
	if _, err := Decode(record); !errors.Is(err, ErrFormat) {
		t.Errorf("format 2: %v, want ErrFormat", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(testSuperblock().Encode().Body)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, b := range [][]byte{body, reseal(body)} {
			s, err := decodeBody(b)
			if err != nil {
				continue
			}
			if again := s.Encode(); string(again.Body) != string(b) {
				t.Fatalf("%x decodes, and encodes to %x", b, again.Body)
			}
		}
	})
}

func TestGeometryValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Geometry)
		want   string // part of the error; "" when valid
	}{
		{func(*Geometry) {}, ""},
		{func(g *Geometry) { g.Data, g.Parity = 2, 1 }, ""},
		{func(g *Geometry) { g.Data, g.Parity = 16, 15 }, ""},
		{func(g *Geometry) { g.BlockSize, g.Size = 4096, 4096 }, ""},
		{func(g *Geometry) { g.Extent = math.MaxInt64 }, ""},
		{func(g *Geometry) { g.BlockSize = 0 }, "block size 0"},
		{func(g *Geometry) { g.BlockSize = 2048 }, "block size 2048"},
		{func(g *Geometry) { g.BlockSize = 5000 }, "block size 5000"},
		{func(g *Geometry) { g.BlockSize = 2 << 20 }, "block size 2097152"},
		{func(g *Geometry) { g.Parity = 0 }, "parity chunks 0"},
		{func(g *Geometry) { g.Parity = 4 }, "data chunks 4"},
		{func(g *Geometry) { g.Data, g.Parity = 32, 1 }, "data chunks 32"},
		{func(g *Geometry) { g.Data = math.MaxInt }, "more than 32"},
		{func(g *Geometry) { g.Data = 10 }, "data chunks 10 do not divide"},
		{func(g *Geometry) { g.Size = 0 }, "size 0"},
		{func(g *Geometry) { g.Size = -1 << 20 }, "size -1048576"},
		{func(g *Geometry) { g.Size++ }, "size 1073741825"},
		{func(g *Geometry) { g.Extent = 0 }, "extent 0"},
	} {
		g := testGeometry()
		c.change(&g)
		checkError(t, g.Validate(), c.want)
	}
}

func TestSuperblockValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Superblock)
		want   string
	}{
		{func(*Superblock) {}, ""},
		{func(s *Superblock) { s.Volume = chunk.VolumeID{} }, "volume id"},
		{func(s *Superblock) { s.Number = 0 }, "number is 0"},
		{func(s *Superblock) { s.Epoch = 0 }, "epoch 0"},
		{func(s *Superblock) { s.Epoch = chunk.MaxEpoch + 1 }, "epoch 16777216"},
		{func(s *Superblock) { s.Name = "" }, "name of 0 bytes"},
		{func(s *Superblock) { s.Name = strings.Repeat("n", 256) }, "name of 256 bytes"},
		{func(s *Superblock) { s.Name = "a\nb" }, `name "a\nb"`},
		{func(s *Superblock) { s.Name = "a\xff" }, `name "a\xff"`},
		{func(s *Superblock) { s.Geometry.Extent = 0 }, "extent 0"},
		{func(s *Superblock) { s.Nodes = testNodes(65) }, "65 nodes"},
		{func(s *Superblock) { s.Nodes = testNodes(5) }, "a stripe needs 6"},
		{func(s *Superblock) { s.Nodes[0].State, s.Nodes[4].State = Lost, Lost }, "5 nodes that are not lost"},
		{func(s *Superblock) { s.Nodes[1].ID = "pi8" }, "pi8 appears twice"},
		{func(s *Superblock) { s.Nodes[1].ID = "" }, "node id of 0 bytes"},
		{func(s *Superblock) { s.Nodes[1].ID = "a/b" }, `node id "a/b"`},
		{func(s *Superblock) { s.Nodes[1].Weight = 0 }, "pi2: weight"},
		{func(s *Superblock) { s.Nodes[1].State = 0 }, "pi2: state 0"},
		{func(s *Superblock) { s.Nodes[1].State = 4 }, "pi2: state 4"},
		{func(s *Superblock) { s.Nodes[1].State = In }, "pi2 is in"},
	} {
		s := testSuperblock()
		c.change(s)
		checkError(t, s.Validate(), c.want)
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil {
		t.Errorf("refused: %v", err)
	}
	if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func TestEncodePanicsOnWhatCannotBeReadAgain(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a superblock without nodes was encoded")
		}
	}()
	s := testSuperblock()
	s.Nodes = nil
	s.Encode()
}

func TestQuorums(t *testing.T) {
	for _, c := range []struct{ nodes, lost, members, quorum, write int }{
		{8, 0, 8, 6, 5},
		{8, 1, 7, 5, 5},
		{8, 2, 6, 4, 4},
		{6, 0, 6, 4, 4},
		{10, 0, 10, 8, 5},
	} {
		s := testSuperblock()
		s.Nodes = testNodes(c.nodes)
		s.Nodes[c.nodes-1].State, s.Nodes[c.nodes-1].Since = Out, 1
		for i := range c.lost {
			s.Nodes[i].State = Lost
		}
		if s.Members() != c.members || s.Quorum() != c.quorum || s.WriteQuorum() != c.write {
			t.Errorf("%+v: %d members, quorum %d, write quorum %d", c, s.Members(), s.Quorum(), s.WriteQuorum())
		}
		if 2*s.Quorum() <= s.Members() {
			t.Errorf("%+v: two quorums need not meet", c)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	s := testSuperblock()
	c := s.Clone()
	c.Nodes[0].State = Lost
	c.Name = "x"
	if !reflect.DeepEqual(s, testSuperblock()) {
		t.Error("changing the clone changed the original")
	}
}

func TestIndex(t *testing.T) {
	s := testSuperblock()
	if got := s.Index("pi3"); got != 2 {
		t.Errorf("pi3 is at %d", got)
	}
	if got := s.Index("pi"); got != -1 {
		t.Errorf("pi is at %d", got)
	}
}
