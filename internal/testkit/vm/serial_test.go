package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// serialLine is what a guest sends: raw lines, a frame with the empty line before it that run.sh puts there.
func serialLine(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n" }

func TestReaderTakesFramesApart(t *testing.T) {
	job := Job{Commands: []Command{{Name: "a"}, {Name: "b"}}}
	tests := []struct {
		name    string
		in      string
		want    []CommandResult
		before  string
		done    bool
		wantErr string
	}{
		{
			name:   "two commands and a complaint before them",
			in:     serialLine("modprobe: no such module", "", "@vm-begin 0", "one", "", "@vm-end 0 0", "", "@vm-begin 1", "", "@vm-end 1 3", "", "@vm-done"),
			want:   []CommandResult{{Name: "a", Output: "one\n"}, {Name: "b", Status: 3}},
			before: "modprobe: no such module\n",
			done:   true,
		},
		{
			name: "empty lines of the output stay",
			in:   serialLine("@vm-begin 0", "", "", "one", "", "two", "", "", "@vm-end 0 0"),
			want: []CommandResult{{Name: "a", Output: "\n\none\n\ntwo\n\n"}},
		},
		{
			name: "the guest dies inside a command",
			in:   serialLine("@vm-begin 0", "one") + "half a li",
			want: []CommandResult{{Name: "a", Status: -1, Output: "one\nhalf a li\n"}},
		},
		{
			name:    "a frame that is not this job's",
			in:      serialLine("@vm-begin 1"),
			wantErr: "unexpected frame",
		},
		{
			name:    "an end without a beginning",
			in:      serialLine("@vm-end 0 0"),
			wantErr: "unexpected frame",
		},
		{
			name:    "an end without a status",
			in:      serialLine("@vm-begin 0", "@vm-end 0"),
			want:    []CommandResult{{Name: "a"}},
			wantErr: "unexpected frame",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &reader{job: job}
			err := r.read(strings.NewReader(tt.in))
			if got := errText(err); !strings.Contains(got, tt.wantErr) || (err != nil) != (tt.wantErr != "") {
				t.Errorf("error %q, want %q", got, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, r.results, cmpopts.IgnoreFields(CommandResult{}, "Took")); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if r.before.String() != tt.before || r.done != tt.done {
				t.Errorf("before %q, done %v; want %q, %v", r.before.String(), r.done, tt.before, tt.done)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
