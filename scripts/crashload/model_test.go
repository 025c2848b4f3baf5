package main

import "testing"

// content is unit 0 after write n; zeroes for n = 0.
func content(m *model, n uint64) []byte {
	p := make([]byte, m.size)
	if n > 0 {
		m.fill(p, 0, n)
	}
	return p
}

// allowed lists which writes, of the first last ones, unit 0 may show; 0 is
// zeroes.
func allowed(m *model, last uint64, powerLost bool) (list []uint64) {
	for n := range last + 1 {
		if m.check(0, content(m, n), powerLost) == nil {
			list = append(list, n)
		}
	}
	return list
}

func expect(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: may show %v, want %v", what, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: may show %v, want %v", what, got, want)
		}
	}
}

func TestModelKnowsWhatMayBeRead(t *testing.T) {
	m := newModel(7, 1024, 1)
	expect(t, "fresh", allowed(m, 3, true), 0)
	m.send(0, false)
	expect(t, "sent", allowed(m, 3, false), 0, 1)
	m.reply(0, 1, false)
	expect(t, "replied", allowed(m, 3, false), 1)
	expect(t, "replied, power lost", allowed(m, 3, true), 0, 1)
	covered := m.snapshot()
	m.reply(0, m.send(0, false), false)
	m.flushed(covered)
	expect(t, "flushed before the second, power lost", allowed(m, 3, true), 1, 2)
	m.reply(0, m.send(0, true), true)
	expect(t, "zeroed with FUA", allowed(m, 4, true), 0)
	m.send(0, false)
	expect(t, "zeroed, sent", allowed(m, 4, true), 0, 4)
	m.settle(0, content(m, 0))
	expect(t, "settled as zeroes", allowed(m, 5, true), 0)
	m.send(0, false)
	expect(t, "settled, sent", allowed(m, 5, true), 0, 5)
}

func TestModelSeesTornAndForeignUnits(t *testing.T) {
	m := newModel(7, 1024, 2)
	m.send(0, false)
	m.send(0, false)
	torn := append(content(m, 1)[:512:512], content(m, 2)[512:]...)
	half := append(content(m, 1)[:512:512], make([]byte, 512)...)
	other := make([]byte, 1024)
	m.fill(other, 1, 1)
	older := content(newModel(8, 1024, 1), 1)
	for name, p := range map[string][]byte{"torn": torn, "half zero": half, "of unit 1": other, "of another run": older} {
		if m.check(0, p, true) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
