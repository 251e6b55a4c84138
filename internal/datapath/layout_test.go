package datapath

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// The numbers of reasons are pinned state: both lists must have the same order.
func TestReasonsAreThoseOfTheProgramsInOrder(t *testing.T) {
	src, err := os.ReadFile("bpf/reasons.h")
	if err != nil {
		t.Fatal(err)
	}
	goSrc, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	identifiers := regexp.MustCompile(`(?m)^\t\treason\.(?:Slow|Entry|Seen)?(\w+),$`).FindAllStringSubmatch(string(goSrc), -1)
	names := regexp.MustCompile(`(?m)^\tR_(\w+),`).FindAllStringSubmatch(string(src), -1)
	if len(names) != len(Reasons())+1 { // R_MAX
		t.Fatalf("%d reasons in C, %d in Go", len(names)-1, len(Reasons()))
	}
	for i, r := range Reasons() {
		c := strings.ToLower(strings.ReplaceAll(names[i][1], "_", ""))
		if g := strings.ToLower(identifiers[i][1]); g != c {
			t.Errorf("reason %d is %s in C and %s in Go", i, c, g)
		}
		if got := reasonOf(uint32(i), Reasons()); got != r {
			t.Errorf("number %d is %s, want %s", i, got, r)
		}
		file := filepath.Join("bpf", filepath.Base(r.Info().Source))
		if src, err := os.ReadFile(file); r != reason.Fast && (err != nil || !strings.Contains(string(src), "R_"+names[i][1])) {
			t.Errorf("%s: its source %s does not name it: %v", r, file, err)
		}
	}
	if got := reasonOf(9999, Reasons()); got != reason.Unknown {
		t.Errorf("an unknown number is %q", got)
	}
}

func TestEveryReasonOfTheFastPathHasANumber(t *testing.T) {
	for _, s := range []reason.Scope{reason.Carried, reason.Slow, reason.Entry, reason.Seen} {
		for _, r := range reason.Of(s) {
			if !slices.Contains(Reasons(), r) {
				t.Errorf("%s: the programs have no number for it", r)
			}
		}
	}
}

// The layout is what makes one packet touch one cache line of its entry: 48 bytes of the kernel's header and 16 of key
// come first (kernel/bpf/hashtab.c struct htab_elem).
func TestEntryLayout(t *testing.T) {
	const header, line = 48, 64
	var k nfoKey4
	var v nfoFlow4
	if n := header + unsafe.Sizeof(k); n%line != 0 {
		t.Errorf("the IPv4 value begins at byte %d of its element", n)
	}
	if n := unsafe.Offsetof(v.Cold); n != line {
		t.Errorf("the hot part takes %d bytes", n)
	}
	if n := header + unsafe.Sizeof(k) + unsafe.Sizeof(v); n%line != 0 {
		t.Errorf("elements are %d bytes apart", n)
	}
	if n := unsafe.Sizeof(nfoAdj{}); n != line {
		t.Errorf("an adjacency takes %d bytes", n)
	}
}

func TestOpenOutsideABPFFileSystemSaysSo(t *testing.T) {
	_, err := Open(Config{Dir: t.TempDir() + "/pins"})
	if err == nil || !strings.Contains(err.Error(), ErrNoBPFFS.Error()) {
		t.Errorf("open in a plain directory: %v", err)
	}
}

func TestWithdrawOfNothingIsDone(t *testing.T) {
	if err := Withdraw(t.TempDir() + "/none"); err != nil {
		t.Error(err)
	}
}
