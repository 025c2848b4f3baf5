package chunkrpc

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// A run of packets that the kernel received in one piece arrives as what was
// sent, also where it takes several batches, and so does a single packet.
func TestGroupedPacketsAreCutUpAgain(t *testing.T) {
	conn, err := new(Cable).listenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	receiver, ok := conn.(*grouped)
	if !ok {
		t.Skip("this kernel does not group UDP packets")
	}
	sender, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for _, n := range []int{1, 1200, 1201, 12 * 1200, 20*1200 + 7} {
		sent := numbered(n)
		if _, _, err := sender.(*net.UDPConn).WriteMsgUDP(sent, segmentSize(1200), nil); err != nil {
			t.Fatalf("send %d bytes in packets of 1200: %v", n, err)
		}
		var got []byte
		for len(got) < n {
			for _, packet := range receiveBatch(t, receiver) {
				if len(packet) != min(1200, n-len(got)) {
					t.Errorf("%d bytes: a packet of %d bytes at %d", n, len(packet), len(got))
				}
				got = append(got, packet...)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%d bytes arrived as others", n)
		}
	}
	if receiver.addr.String() != sender.LocalAddr().String() {
		t.Errorf("packets of %v seem to come from %v", sender.LocalAddr(), receiver.addr)
	}
}

func receiveBatch(t *testing.T, g *grouped) (packets [][]byte) {
	ms := make([]ipv4.Message, 8)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, controlSize)
	}
	n, err := g.ReadBatch(ms, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms[:n] {
		packets = append(packets, m.Buffers[0][:m.N])
	}
	return packets
}

// numbered returns n bytes of which no two runs of 16 are alike.
func numbered(n int) []byte {
	b := make([]byte, 0, n+8)
	for i := 0; len(b) < n; i++ {
		b = binary.BigEndian.AppendUint64(b, uint64(i))
	}
	return b[:n]
}

// segmentSize is the control message that makes the kernel cut what is sent
// into packets.
func segmentSize(n uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], n)
	return b
}
