package vm

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// CommandResult is how one command of a job ended.
type CommandResult struct {
	Name   string
	Status int           // exit status; 124 when it ran out of time, 128 plus the signal when one ended it, -1 when the guest died
	Output string        // standard output and error as they came
	Took   time.Duration // of host time
}

// reader takes the frames of a job apart while they arrive.
type reader struct {
	job     Job
	results []CommandResult
	open    bool      // inside a command's frame
	begun   time.Time // the open frame
	done    bool
	output  strings.Builder // of the open frame
	before  strings.Builder // what came outside of all frames: the preparation's own complaints
	blank   bool            // an empty line is held back: it may belong to the frame that follows it
}

// read reads the serial line to its end. Only what follows from the frames is an error: the guest's own failures are results.
func (r *reader) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if err := r.line(strings.TrimRight(line, "\r\n")); err != nil {
				return err
			}
		}
		if err == io.EOF {
			if r.open {
				r.close(-1) // the guest died in this command
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read serial line: %w", err)
		}
	}
}

func (r *reader) line(line string) error {
	var index, status int
	switch {
	case line == "" && !r.blank:
		r.blank = true
		return nil
	case strings.HasPrefix(line, frameBegin+" "):
		if _, err := fmt.Sscanf(line, frameBegin+" %d", &index); err != nil || r.open || index != len(r.results) || index >= len(r.job.Commands) {
			return fmt.Errorf("read serial line: unexpected frame %q", line)
		}
		r.results = append(r.results, CommandResult{Name: r.job.Commands[index].Name})
		r.open, r.blank, r.begun = true, false, time.Now()
		return nil
	case strings.HasPrefix(line, frameEnd+" "):
		if _, err := fmt.Sscanf(line, frameEnd+" %d %d", &index, &status); err != nil || !r.open || index != len(r.results)-1 {
			return fmt.Errorf("read serial line: unexpected frame %q", line)
		}
		r.close(status)
		return nil
	case line == frameDone && !r.open:
		r.done, r.blank = true, false
		return nil
	}
	if r.blank {
		r.blank = line == "" // two in a row: one is the output's own
		r.text("")
		if line == "" {
			return nil
		}
	}
	r.text(line)
	return nil
}

func (r *reader) close(status int) {
	last := &r.results[len(r.results)-1]
	last.Status, last.Output, last.Took = status, r.output.String(), time.Since(r.begun)
	r.output.Reset()
	r.open, r.blank = false, false
}

func (r *reader) text(line string) {
	line += "\n"
	if r.job.Log != nil {
		_, _ = io.WriteString(r.job.Log, line) // a log that cannot be written must not end the guest
	}
	if r.open {
		r.output.WriteString(line)
		return
	}
	r.before.WriteString(line)
}
