package chunk

import "errors"

// The errors of a Store, one for each decision that a caller makes. Stores
// wrap them with what they were doing; callers test with errors.Is.
var (
	// ErrDeposed means that the node has granted a higher epoch, or the same
	// epoch to another gateway. The caller's term is over: it must fail its
	// I/O and stop.
	ErrDeposed = errors.New("deposed: a newer gateway holds the volume")

	// ErrNotGranted means that the node has not granted the caller's epoch,
	// nor any higher one. Ask for a Grant, then try again.
	ErrNotGranted = errors.New("epoch not granted by this node")

	// ErrUnavailable means that the node could not be asked, or did not
	// answer: whether the request had its effect is unknown.
	ErrUnavailable = errors.New("node unavailable")

	// ErrNoSpace means that the card is full for new data. It is not a
	// failure of the node: reads, trims, drops and repair go on.
	ErrNoSpace = errors.New("no space left on the card")

	// ErrReadOnly means that a sync on this card has failed, so that what it
	// acknowledged may be gone. It serves reads of what it still has, takes
	// nothing new and grants nothing.
	ErrReadOnly = errors.New("store is read-only after a failed sync")

	// ErrSettled means that a put at or below the node's watermark was
	// refused: a late copy of a write that was settled without it. Only
	// repair may put there.
	ErrSettled = errors.New("version is at or below the watermark")

	// ErrNoBase means that a patch or swap was refused: the newest version of the
	// chunk that the node has is not its base, or is damaged. Send the whole chunk.
	ErrNoBase = errors.New("the newest version is not the base of the patch")

	// ErrEmpty means that a swap was refused: the version before reads as zeroes, as
	// a tombstone or for want of any. Send the whole chunk.
	ErrEmpty = errors.New("there is nothing to be replaced")

	// ErrNameTaken means that another volume holds the name on this node.
	ErrNameTaken = errors.New("volume name is taken")

	// ErrUnknownVolume means that this node has no superblock of the volume.
	ErrUnknownVolume = errors.New("unknown volume")

	// ErrInvalid means that the request breaks a limit or contradicts itself:
	// the caller has a bug.
	ErrInvalid = errors.New("invalid request")
)
