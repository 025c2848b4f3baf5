package daemon

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. In files and flags it is written as a whole
// number with a unit, "64GiB"; a number alone counts bytes.
type Size int64

// units are all that a Size may be written in, the largest binary ones first:
// String takes the first that divides. A bare "G" is refused, because half of
// the world reads it as 1000^3 and the other half as 1024^3.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads a size such as "64GiB", "500 GB" or "4096".
func ParseSize(text string) (Size, error) {
	digits := strings.TrimLeft(text, "0123456789")
	number, unit := text[:len(text)-len(digits)], strings.TrimSpace(digits)
	scale, ok := scaleOf(unit)
	if number == "" || !ok {
		return 0, fmt.Errorf("bad size %q: want a whole number and one of "+
			"B, KiB, MiB, GiB, TiB, kB, MB, GB, TB, as in \"64GiB\"", text)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/scale {
		return 0, fmt.Errorf("bad size %q: more than 8 EiB", text)
	}
	return Size(n * scale), nil
}

func scaleOf(unit string) (int64, bool) {
	if unit == "" {
		return 1, true
	}
	for _, u := range units {
		if u.name == unit {
			return u.bytes, true
		}
	}
	return 0, false
}

// String writes s exactly, in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range units {
		if u.bytes&(u.bytes-1) == 0 && s != 0 && int64(s)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.bytes, u.name)
		}
	}
	return "0"
}

// about writes a number of bytes for people, to three digits.
func about(bytes uint64) string {
	for _, u := range units[:4] {
		if v := float64(bytes) / float64(u.bytes); v >= 1 {
			return fmt.Sprintf("%.3g %s", v, u.name)
		}
	}
	return fmt.Sprintf("%d B", bytes)
}

// rate writes bytes a second for people, in decimal units as networks have it.
func rate(bytesPerSecond float64) string {
	if bytesPerSecond < 1e6 {
		return fmt.Sprintf("%.0f kB/s", bytesPerSecond/1e3)
	}
	return fmt.Sprintf("%.*f MB/s", decimals(bytesPerSecond/1e6), bytesPerSecond/1e6)
}

func decimals(v float64) int {
	if v < 10 {
		return 1
	}
	return 0
}

// ParseRate reads a rate such as "20MB/s"; a number alone is of MB/s, and "off"
// is 0, no limit.
func ParseRate(text string) (Size, error) {
	if text == "off" {
		return 0, nil
	}
	size, hasUnit := strings.CutSuffix(text, "/s")
	if strings.Trim(text, "0123456789") == "" {
		size, hasUnit = text+"MB", true
	}
	n, err := ParseSize(size)
	if err != nil || !hasUnit || n == 0 {
		return 0, fmt.Errorf("bad rate %q: want MB a second, as in \"20\" or \"20MB/s\", or \"off\"", text)
	}
	return n, nil
}

// grouped writes a number for people: 4,210.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// roughly writes a time span for people, in one unit.
func roughly(seconds int64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%d min", (seconds+30)/60)
	}
	return fmt.Sprintf("%d h", (seconds+1800)/3600)
}

// UnmarshalText reads a Size from a configuration file.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// Set reads a Size from a flag; with String and Type it makes one.
func (s *Size) Set(text string) error { return s.UnmarshalText([]byte(text)) }

// Type names the flag's value in help texts.
func (s *Size) Type() string { return "size" }

// Duration is a time span. In files it is written with its unit, "1.5s" or
// "200ms"; a number alone is refused, because nobody means nanoseconds.
type Duration time.Duration

// UnmarshalText reads a Duration from a configuration file.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("bad duration %q: want a number and a unit, as in \"1s\" or \"200ms\"", text)
	}
	*d = Duration(v)
	return nil
}

// String writes d as Go does.
func (d Duration) String() string { return time.Duration(d).String() }
