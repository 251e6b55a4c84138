package plan_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestCommandsForHardwareAreValidTC has tc(8) parse every command of the testdata. On devices without hardware the
// kernel refuses them: what counts is that it is the kernel, and not tc.
func TestCommandsForHardwareAreValidTC(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.Tc)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	ns := testkit.NewNS(t, "tc")
	for _, d := range []string{"eth0", "eth1", "eth2", "eth3", "eth4", "eth5", "eth6"} {
		ns.Run("ip", "link", "add", d, "type", "veth", "peer", "name", "peer-"+d)
		ns.Run("tc", "qdisc", "add", "dev", d, "clsact")
	}
	parsed := 0
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "tc" })
		if i < 0 {
			continue
		}
		for line := range strings.Lines(string(a.Files[i].Data)) {
			words := strings.Fields(line)
			if len(words) < 3 || words[1] != "filter" {
				continue
			}
			parsed++
			// Exit status 2 is the kernel's refusal, 1 is tc's own (tc/tc.c).
			_, err := ns.Try(words[0], words[1:]...)
			if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 2) {
				t.Errorf("%s: %s%v", filepath.Base(file), line, err)
			}
		}
	}
	if parsed < 50 {
		t.Errorf("only %d commands: the test proves little", parsed)
	}
}
