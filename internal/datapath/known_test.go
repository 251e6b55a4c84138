package datapath

import "testing"

func TestKnownWordsAreAPowerOfTwoAndEnough(t *testing.T) {
	for flows, want := range map[uint32]uint32{1: 1, 32: 1, 33: 2, 131072: 4096, 131073: 8192, 1 << 20: 32768, 1 << 31: 1 << 26} {
		if got := knownWords(flows); got != want {
			t.Errorf("%d flows: %d words, want %d", flows, got, want)
		}
	}
}

// Flows of one client differ in their ports only: their bits must be spread all the same.
func TestKnownPlacesOfNeighborsAreApart(t *testing.T) {
	const flows = 1 << 14
	mask := knownWords(flows*8) - 1
	seen := map[[2]uint64]bool{}
	for port := range uint32(flows) {
		word, bit := knownPlace(0x5ca1ab1e^port<<16, mask)
		if word > mask {
			t.Fatalf("word %d of %d", word, mask+1)
		}
		seen[[2]uint64{uint64(word), bit}] = true
	}
	// At random, 16384 of 262144 bits would be hit about 15880 times.
	if len(seen) < flows*9/10 {
		t.Errorf("%d flows share %d bits", flows, len(seen))
	}
}
