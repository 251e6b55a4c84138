package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// strictEnv is testkit.StrictEnv; a tool outside of tests does not import testkit.
const strictEnv = "NFT_OFFLOAD_STRICT"

func run(args []string, stdout, stderr io.Writer, getenv func(string) string) error {
	flags := flag.NewFlagSet("testcount", flag.ContinueOnError)
	flags.SetOutput(stderr)
	summary := flags.String("summary", "", "write the counting line to this `file` too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, flags.Args()...)...)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	c := newCounter(stdout)
	readErr := c.readAll(out)
	waitErr := cmd.Wait()
	fmt.Fprintln(stdout, c.line())
	if *summary != "" {
		if err := os.WriteFile(*summary, []byte(c.line()+"\n"), 0o644); err != nil {
			return fmt.Errorf("write summary: %w", err)
		}
	}
	switch {
	case readErr != nil:
		return readErr
	case c.failed > 0:
		return errors.New("tests failed")
	case waitErr != nil:
		return fmt.Errorf("run go test: %w", waitErr)
	case c.skipped > 0 && getenv(strictEnv) != "":
		return fmt.Errorf("tests were skipped, which %s does not allow", strictEnv)
	}
	return nil
}

// readAll feeds the counter with what `go test -json` prints. A line that is no event is shown as it is.
func (c *counter) readAll(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				c.add(e)
			} else {
				_, _ = c.out.Write(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read go test: %w", err)
		}
	}
}
