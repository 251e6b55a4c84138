package readme_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// marker stands, alone in a line, before a fenced block that is run.
const marker = "<!-- run -->"

// block is one marked block: what a reader types.
type block struct {
	Line     int // of the opening fence, from 1
	Commands []string
}

// blocks finds the marked blocks. A marker that no ```sh block follows is an error, and so is a block without an end.
func blocks(text string) ([]block, error) {
	var found []block
	marked, inside := 0, false // line of a marker whose block has not come yet; in that block
	for i, line := range strings.Split(text, "\n") {
		switch word := strings.TrimSpace(line); {
		case inside && word == "```":
			inside = false
		case inside:
			last := &found[len(found)-1]
			last.Commands = add(last.Commands, line)
		case word == marker:
			marked = i + 1
		case marked > 0 && word == "```sh":
			found = append(found, block{Line: i + 1})
			marked, inside = 0, true
		case marked > 0 && word != "":
			return nil, fmt.Errorf("line %d: %s stands before %q and not before a ```sh block", marked, marker, line)
		}
	}
	if inside || marked > 0 {
		return nil, fmt.Errorf("the text ends within a marked block")
	}
	return found, nil
}

// add puts a line behind the commands, or at the end of the last one where that goes on. Empty lines and comments are
// no commands; a prompt is not part of one. Here-documents are not understood.
func add(commands []string, line string) []string {
	if n := len(commands); n > 0 && strings.HasSuffix(commands[n-1], `\`) {
		commands[n-1] += "\n" + line
		return commands
	}
	line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
	if line == "" || strings.HasPrefix(line, "#") {
		return commands
	}
	return append(commands, line)
}

func TestBlocksAreThoseWithAMarker(t *testing.T) {
	const text = "# x\n```sh\nnot this\n```\n<!-- run -->\n\n```sh\n# comment\nmake && \\\n  make install   # why\n\n$ sudo a b\n```\n" +
		"text\n<!-- run -->\n```sh\nlast\n```\n"
	got, err := blocks(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{{7, []string{"make && \\\n  make install   # why", "sudo a b"}}, {16, []string{"last"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, bad := range map[string]string{
		"before text":          "<!-- run -->\ntext\n",
		"before another block": "<!-- run -->\n```\nx\n```\n",
		"at the end":           "x\n<!-- run -->\n",
		"without an end":       "<!-- run -->\n```sh\nx\n",
	} {
		if got, err := blocks(bad); err == nil {
			t.Errorf("%s: no error, but %v", name, got)
		}
	}
}

func TestScriptRunsTheDaemonInTheBackgroundAndStopsAtTheFirstFailure(t *testing.T) {
	for command, want := range map[string]bool{
		"sudo nft-offload run   # the daemon": true, "nft-offload run --device r0=tc": true, "nft-offload --netns x run": true,
		"nft-offload run &": false, "nft-offload load run.nft": false, "make run": false, "echo nft-offload running": false,
	} {
		if foreground(command) != want {
			t.Errorf("%s: in the foreground: %v, want %v", command, !want, want)
		}
	}
	n, dir := scratch(t)
	for name, c := range map[string]struct {
		commands []string
		fails    bool
		says     string
	}{
		"all well":                    {[]string{"cd examples", "x=1", `test "$x" = 1`, "sudo test -f router.nft"}, false, "+ sudo test -f router.nft\n"},
		"failure":                     {[]string{"true", "false   # here", "echo not reached"}, true, "+ false   # here\n"},
		"failure of the first of two": {[]string{"false && true", "true"}, true, "+ false && true\n"},
		"failure and more":            {[]string{"false | true", "ls /nothing", "true"}, true, "+ ls /nothing\n"},
		"daemon": {
			[]string{"nft-offload load examples/router.nft", "sudo nft-offload run  # in front", "nft-offload status", "sudo nft-offload withdraw"},
			false, "stopped the daemon",
		},
		"daemon left running":    {[]string{"sudo nft-offload run", "nft-offload flows"}, false, "no flows"},
		"daemon taken as given":  {[]string{"nft-offload status | grep r1"}, false, "r1"},
		"daemon that is refused": {[]string{"nft-offload run --device r7=tc", "true"}, true, "there is no device r7"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runBlock(t, n, dir, block{Commands: c.commands})
			if (err != nil) != c.fails || !strings.Contains(out, c.says) || strings.Contains(out, "+ echo not reached") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
