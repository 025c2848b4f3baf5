package daemon

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0":          0,
		"4096":       4096,
		"4096B":      4096,
		"1kB":        1000,
		"64KiB":      64 << 10,
		"64 MiB":     64 << 20,
		"500GB":      500e9,
		"64GiB":      64 << 30,
		"2TB":        2e12,
		"8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "GiB", "64G", "64gib", "64KB", "1.5GiB", "-1", "+1", "0x10", "64GiB!", "8388608TiB",
		"9223372036854775808", "99999999999999999999999", "64  GiB extra",
	} {
		if got, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("ParseSize(%q) = %d, %v; want an error that quotes it", text, got, err)
		}
	}
}

func TestSizeStringIsExact(t *testing.T) {
	for _, s := range []Size{0, 1, 4096, 4097, 32 << 10, 1e12, 1 << 40, 3 << 40, math.MaxInt64} {
		if back, err := ParseSize(s.String()); err != nil || back != s {
			t.Errorf("%d is written %q, read back as %d, %v", int64(s), s, back, err)
		}
	}
}

func TestAbout(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 63 << 30: "63 GiB",
	} {
		if got := about(bytes); got != want {
			t.Errorf("about(%d) = %q, want %q", bytes, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("1.5s")); err != nil || d != Duration(1500*time.Millisecond) {
		t.Errorf("1.5s is read as %v, %v", d, err)
	}
	for _, text := range []string{"", "8", "-1s", "1 s", "1 minute"} {
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v; want an error", text, d)
		}
	}
}
