#!/usr/bin/env bash
# The demonstration on a terminal, as a teacher would drive it: tmux types the
# keys and reads the screen. A card is pulled while the film plays, while nothing
# happens; two; three; and the lesson is recorded and shown again. Then the same
# from a script.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TRIES=3 # of what must be quick: this machine may be busy with something else

# tmux on a server of its own, which reads nobody's configuration.
screen() { tmux -L "rozobox-$$" -f /dev/null "$@"; }

show() { screen capture-pane -p -t demo; }

shown() { show | grep -qE -- "$1"; }

# fail says what there was to be seen.
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	show >&2 2>/dev/null || true
	exit 1
}

keys() { screen send-keys -t demo "$@"; }

# states prints a line for each card: its id and its state.
states() { show | grep -oE 'pi[0-9][ ═─]+[○●×] [a-z]+' | sed -E 's/^(pi[0-9]).* /\1 /' | sort; }

in_state() { states | grep -c " $1\$" || true; }

# count N STATE: exactly so many cards are in a state.
count() { (($(in_state "$2") == $1)); }

is() { states | grep -qx "$1 $2"; }

cards_in() { states | sed -n "s/ $1\$//p"; }

# choose CARD: in a grid of 4 by 2, with the keys of vi.
choose() {
	local n=${1#pi} way=khhh i
	for ((i = 1; i < (n - 1) % 4 + 1; i++)); do way+=l; done
	((n <= 4)) || way+=j
	keys -l "$way"
	wait_for 10 "$1 is chosen" shown "╔ ?$1[ ═]"
}

# on CARD KEY
on() {
	choose "$1"
	keys "$2"
}

# figure SED: a number of the film's line.
figure() { show | sed -nE "s/^ film buffer .*$1.*/\\1/p"; }

all_right() { shown 'checked [^,]+, all right'; }

# milliseconds CMD...: how long it takes until CMD succeeds; it fails after ten
# seconds.
milliseconds() {
	local begin=${EPOCHREALTIME/./} now
	while :; do
		now=${EPOCHREALTIME/./}
		! "$@" || break
		((now - begin < 10000000)) || return 1
		sleep 0.05
	done
	echo $(((now - begin) / 1000))
}

# start_screen keeps on the screen what the program says in the end.
start_screen() {
	free_ports 1
	screen new-session -d -s demo -x 120 -y 40
	screen set-option -g remain-on-exit on
	screen respawn-pane -k -t demo \
		"exec $ROZOBOX demo --dir '$DIR/demo' --nbd 127.0.0.1:$PORT --record '$DIR/lesson.rec'"
}

stop_film() {
	keys Space
	wait_for 20 "the film is stopped, and all 8 cards are green" all_idle
}

all_idle() { shown 'film waits: paused' && count 8 idle; }

start_film() {
	keys Space
	wait_for 20 "the film plays, and exactly 4 cards are yellow" count 4 working
}

# pull_one pulls one of the 4 that work, into CARD; it fails where that was
# slow, or felt: a busy machine hedges more than it should.
pull_one() {
	local red others
	CARD=$(cards_in working | head -n 1) IDLE=$(cards_in idle)
	choose "$CARD"
	keys u
	red=$(milliseconds is "$CARD" unavailable) || fail "$CARD does not turn red"
	others=$(milliseconds taken_over) || return 1
	shown 'never stalled' || fail "the film has stalled"
	all_right || fail "the film does not have its hash"
	PAUSE=$(figure 'pause ([0-9.]+) ms')
	say "$CARD is red after $red ms, another yellow after $others ms more; longest pause $PAUSE ms"
	((red <= 1500)) && ((${PAUSE%.*} < 100))
}

# taken_over: again 4 cards work, one of them one that did not.
taken_over() { count 4 working && grep -qxF -f <(cards_in working) <<<"$IDLE"; }

plug_in() {
	local card
	for card in "$@"; do on "$card" p; done
	wait_for 40 "all cards are in again" all_in
}

all_in() { count 0 unavailable && ! shown '└ (!|↻)|╚ (!|↻)'; }

one_card() {
	local try
	for ((try = 1; ; try++)); do
		stop_film
		start_film
		! pull_one || break
		((try < TRIES)) || fail "red too late, more than 4 yellow, or the film paused for too long"
		plug_in "$CARD"
	done
	say "plugged in"
	plug_in "$CARD"
	keys e
	wait_for 5 "the resync was told" shown "$CARD.*node is resynced"
	keys e
	wait_for 5 "the cards are shown again" count 4 working
}

# A card that comes back blank has all to be resynced, slowly here.
blank_card() {
	CARD=$(cards_in working | head -n 1)
	"$ROZOBOX" repair limit 5MB/s --config "$DIR/demo/gateway/gateway.toml" >/dev/null
	on "$CARD" w
	wait_for 10 "the wiped card is red" is "$CARD" unavailable
	on "$CARD" p
	wait_for 30 "it is resynced" shown "resync $CARD .* left|↻ resyncing [0-9]+%"
	"$ROZOBOX" repair limit off --config "$DIR/demo/gateway/gateway.toml" >/dev/null
	plug_in "$CARD"
	wait_for 20 "it works again" is "$CARD" working
}

idle_card() {
	stop_film
	on pi2 u
	wait_for 10 "pi2 is red" is pi2 unavailable
	count 7 idle || fail "others are not idle: $(states)"
	plug_in pi2
	wait_for 10 "all are green again" count 8 idle
	start_film
}

two_and_three_cards() {
	local cards
	mapfile -t cards < <(cards_in working)
	on "${cards[0]}" u
	on "${cards[1]}" u
	wait_for 10 "two are red" count 2 unavailable
	sleep 1
	shown 'never stalled' || fail "the film stalled with two cards away"
	say "three"
	on "${cards[2]}" u
	wait_for 20 "the film waits, and says why" shown 'film waits: no answer for .* do not answer'
	shown "film waits: .*${cards[2]}.* do not answer" || fail "it does not say that ${cards[2]} is away"
	on "${cards[2]}" p
	wait_for 20 "the film goes on when one returns" plays
	plug_in "${cards[0]}" "${cards[1]}"
}

plays_at_all() { shown 'film buffer' && plays && ! shown 'checked 0 B'; }

plays() { ! shown 'film waits' && all_right; }

replay() {
	screen respawn-pane -k -t demo "exec $ROZOBOX monitor --replay '$DIR/lesson.rec' --speed 64"
	wait_for 20 "the replay comes to its end" shown '^ Rozobox demo .* end  '
	shown 'film buffer' || fail "the replay shows no film"
}

script() {
	cat >"$DIR/lesson.txt" <<-END
		expect film plays within 60s
		freeze working   # and not unplug, for a change
		expect it unavailable within 10s
		plug it
		expect it in within 30s
	END
	"$ROZOBOX" demo --headless --dir "$DIR/demo" --nbd "127.0.0.1:$PORT" --script "$DIR/lesson.txt" \
		>"$DIR/script.out"
	grep -q 'plug pi[0-9]' "$DIR/script.out" || fail "the steps: $(<"$DIR/script.out")"
	grep -q 'film: longest pause .* 0 bytes wrong' "$DIR/script.out" || fail "the end: $(<"$DIR/script.out")"
	expect_error 'lesson.txt:1: frobnicate: no such step' bad_script
}

bad_script() {
	echo frobnicate >"$DIR/lesson.txt"
	"$ROZOBOX" demo --headless --dir "$DIR/demo" --nbd "127.0.0.1:$PORT" --script "$DIR/lesson.txt"
}

begin
defer screen kill-server
start_screen
wait_for 60 "the film plays" plays_at_all
say "one card"
one_card
say "a blank card"
blank_card
say "a card while nothing happens"
idle_card
say "two cards"
two_and_three_cards
all_right || fail "the film does not have its hash"
keys q
wait_for 20 "the demo ends" shown 'The demo has ended'
say "the same again"
replay
say "from a script"
script
