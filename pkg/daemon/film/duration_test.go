package film

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"
)

// box is one of MP4.
func box(kind string, body ...string) string {
	text := strings.Join(body, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(text)))) + kind + text
}

// wide is a box whose length has 64 bits.
func wide(kind, body string) string {
	head := append(binary.BigEndian.AppendUint32(nil, 1), kind...)
	return string(binary.BigEndian.AppendUint64(head, uint64(16+len(body)))) + body
}

// mvhd lasts for so many ticks.
func mvhd(version byte, perSecond uint32, ticks uint64) string {
	b := append([]byte{version, 0, 0, 0}, make([]byte, 8*(1+int(version)))...)
	b = binary.BigEndian.AppendUint32(b, perSecond)
	if version == 1 {
		b = binary.BigEndian.AppendUint64(b, ticks)
	} else {
		b = binary.BigEndian.AppendUint32(b, uint32(ticks))
	}
	return box("mvhd", string(b)+strings.Repeat("\x00", 80))
}

// element is one of Matroska, its length in two bytes.
func element(id, body string) string {
	return id + string([]byte{0x40 | byte(len(body)>>8), byte(len(body))}) + body
}

func matroska(info ...string) string {
	return element("\x1a\x45\xdf\xa3", "\x42\x82\x88matroska") +
		"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + // a segment of unknown length
		element("\xec", "void") + element("\x15\x49\xa9\x66", strings.Join(info, ""))
}

func TestDuration(t *testing.T) {
	float := string(binary.BigEndian.AppendUint64(nil, math.Float64bits(90500)))
	short := string(binary.BigEndian.AppendUint32(nil, math.Float32bits(1810)))
	for name, c := range map[string]struct {
		file string
		want time.Duration
	}{
		"mp4":                   {box("ftyp", "isom") + box("moov", box("free"), mvhd(0, 1000, 90500)), 90500 * time.Millisecond},
		"mp4, 64 bits":          {wide("mdat", "frames") + wide("moov", mvhd(1, 600, 600*7200)), 2 * time.Hour},
		"mp4 without a header":  {box("ftyp", "isom") + box("mdat", "frames"), 0},
		"mp4 without ticks":     {box("moov", mvhd(0, 0, 0)), 0},
		"mp4 of an age":         {box("moov", mvhd(1, 1, 1<<62)), 0},
		"mp4 that was cut":      {box("moov", mvhd(0, 1000, 90500))[:20], 0},
		"a box beyond the end":  {"\x7f\xff\xff\xffmoov", 0},
		"a box without advance": {"\x00\x00\x00\x01moov\x00\x00\x00\x00\x00\x00\x00\x00", 0},
		"matroska":              {matroska(element("\x44\x89", float)), 90500 * time.Millisecond},
		"matroska, other unit":  {matroska(element("\x2a\xd7\xb1", "\x02\xfa\xf0\x80"), element("\x44\x89", short)), 90500 * time.Millisecond},
		"matroska without one":  {matroska(element("\x4d\x80", "rozobox")), 0},
		"something else":        {"#!/bin/sh\n", 0},
		"nothing":               {"", 0},
	} {
		if got := duration(strings.NewReader(c.file), int64(len(c.file))); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A film may come from anywhere.
func FuzzDuration(f *testing.F) {
	f.Add([]byte(box("moov", mvhd(0, 1000, 90500))))
	f.Add([]byte(matroska(element("\x44\x89", "\x00\x00\x00\x00"))))
	f.Fuzz(func(t *testing.T, file []byte) {
		if d := duration(bytes.NewReader(file), int64(len(file))); d < 0 || d > longest {
			t.Errorf("lasts %v", d)
		}
	})
}
