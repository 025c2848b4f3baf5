// Package simulate plays histories of faults against a whole volume.
package simulate
