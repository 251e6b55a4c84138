package datapath

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"unsafe"
)

// The numbers of reasons are pinned state: both lists must have the same order.
func TestReasonsAreThoseOfTheProgramsInOrder(t *testing.T) {
	src, err := os.ReadFile("bpf/reasons.h")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^\tR_(\w+),`).FindAllStringSubmatch(string(src), -1)
	if len(names) != len(Reasons())+1 { // R_MAX
		t.Fatalf("%d reasons in C, %d in Go", len(names)-1, len(Reasons()))
	}
	goSrc, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	block, _, _ := strings.Cut(string(goSrc), "numReasons")
	goNames := regexp.MustCompile(`(?m)^\t(\w+)( Reason = iota)?$`).FindAllStringSubmatch(block, -1)
	for i, r := range Reasons() {
		c := strings.ToLower(strings.ReplaceAll(names[i][1], "_", ""))
		if g := strings.ToLower(goNames[i][1]); g != c {
			t.Errorf("reason %d is %s in C and %s in Go", r, c, g)
		}
		info := r.Info()
		if info.Code == "unknown" || info.Text == "" {
			t.Errorf("reason %d (%s) has no description", r, c)
		}
	}
}

func TestReasonCodesAreDistinct(t *testing.T) {
	seen := map[string]Reason{}
	for _, r := range Reasons() {
		if other, ok := seen[r.String()]; ok {
			t.Errorf("reasons %d and %d are both %q", other, r, r)
		}
		seen[r.String()] = r
	}
	if got := Reason(9999).String(); got != "unknown" {
		t.Errorf("an unknown reason is %q", got)
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
