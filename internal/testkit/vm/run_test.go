package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// One boot in which things go wrong the way they can: a status, a command that hangs, a write to the host's files,
// a kernel that panics.
func TestRunReportsWhatWentWrong(t *testing.T) {
	testkit.Need(t, testkit.QEMU)
	kernels := vm.Kernels()
	mark := filepath.Join(t.TempDir(), "mark")
	job := vm.Job{
		Env: map[string]string{"WORD": "it's here", "MARK": mark},
		Commands: []vm.Command{
			{Name: "status", Script: `echo "$WORD in $PWD"; printf 'no newline'; exit 3`, Dir: "/usr"},
			{Name: "hang", Script: "exec sleep 1000", Timeout: time.Second},
			{Name: "write", Script: `mkdir -p "$(dirname "$MARK")"; echo x >"$MARK"; cat "$MARK"`},
			{Name: "panic", Script: "echo last words; echo c >/proc/sysrq-trigger; exec sleep 1000"},
			{Name: "never", Script: "true"},
		},
	}
	res, err := vm.Run(t.Context(), kernels[len(kernels)-1], job)
	if err == nil || !strings.Contains(err.Error(), "guest ended before its job did") {
		t.Errorf("error %v, want one that says that the guest ended early", err)
	}
	if res == nil {
		t.Fatal("no result beside the error")
	}
	want := []struct {
		status int
		output string
	}{{3, "it's here in /usr\nno newline\n"}, {124, ""}, {0, "x\n"}, {-1, "last words\n"}}
	if len(res.Commands) != len(want) {
		t.Fatalf("%d results, want %d: %+v", len(res.Commands), len(want), res.Commands)
	}
	for i, w := range want {
		if got := res.Commands[i]; got.Status != w.status || got.Output != w.output {
			t.Errorf("%s: status %d, output %q; want %d, %q", got.Name, got.Status, got.Output, w.status, w.output)
		}
	}
	if c := strings.Join(res.Complaints(), "\n"); !strings.Contains(c, "panic") {
		t.Errorf("the panic is not among the kernel's complaints:\n%s", c)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the guest wrote to the host's file system")
	}
}
