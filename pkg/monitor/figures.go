package monitor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// scale writes v with the largest unit that it reaches, to about three digits.
func scale(v, base float64, units ...string) string {
	if !(v > 0) {
		return "0" + units[0]
	}
	i := 0
	for v >= base && i < len(units)-1 {
		v, i = v/base, i+1
	}
	switch {
	case v < 9.95 && (i > 0 || v != math.Trunc(v)):
		return strconv.FormatFloat(v, 'f', 1, 64) + units[i]
	case v < 99999:
		return strconv.FormatFloat(v, 'f', 0, 64) + units[i]
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + units[i]
}

// count writes a number of things.
func count(v float64) string { return scale(v, 1000, "", "k", "M", "G") }

// each writes how often something happens.
func each(perSecond float64) string { return count(perSecond) + "/s" }

// size writes bytes that are kept, in the units that volumes are made in.
func size(bytes float64) string { return scale(bytes, 1024, " B", " KiB", " MiB", " GiB", " TiB") }

// speed writes bytes a second, in the units of networks.
func speed(bytesPerSecond float64) string {
	return scale(math.Trunc(bytesPerSecond), 1000, " B/s", " kB/s", " MB/s", " GB/s")
}

// shortSpeed is speed where there is little room.
func shortSpeed(bytesPerSecond float64) string {
	return scale(math.Trunc(bytesPerSecond), 1000, "", "k", "M", "G")
}

func percent(share float64) string {
	return strconv.Itoa(int(math.Round(100*between(share, 0, 1)))) + "%"
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// millis writes a latency.
func millis(seconds float64) string {
	if !(seconds > 0) {
		return "-"
	}
	return scale(seconds*1e3, math.Inf(1), " ms")
}

// lasting writes a span of time, as one says it.
func lasting(seconds float64) string {
	switch {
	case !(seconds > 0):
		return "0 s"
	case seconds < 9.95:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case seconds < 99.5:
		return strconv.FormatFloat(seconds, 'f', 0, 64) + " s"
	case seconds < 2*3600:
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.0f h", seconds/3600)
	case seconds < 1e9:
		return fmt.Sprintf("%.0f days", seconds/86400)
	}
	return "ages"
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "--:--:--"
	}
	return t.Format("15:04:05")
}

// wrap breaks text at blanks into lines of at most w cells where it can.
func wrap(text string, w int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && runesWidth(line)+1+runesWidth(word) > w {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// plural writes a number with the right form of its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
