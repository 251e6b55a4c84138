package rules_test

import (
	"regexp"
	"strings"
)

// shrink looks for one frame and as little of a ruleset as it takes for a failure to stay.
func (l *lab) shrink(text string, _ *device, frames [][]byte, fails func(string, [][]byte) bool) (string, []byte) {
	for len(frames) > 1 {
		half := frames[:len(frames)/2]
		if fails(text, half) {
			frames = half
		} else {
			frames = frames[len(half):]
		}
	}
	if !fails(text, frames) {
		return "# it takes several frames\n" + text, frames[0]
	}
	without := func(pattern string) {
		find := regexp.MustCompile(pattern)
		for at := len(text); at > 0; {
			found := find.FindAllStringIndex(text[:at], -1)
			if found == nil {
				return
			}
			last := found[len(found)-1]
			if less := text[:last[0]] + text[last[1]:]; fails(less, frames) {
				text = less
			}
			at = last[0]
		}
	}
	without(`(?m)^table [^}]*\n(\t[^}]*\n\t}\n)*}\n`)
	text = l.fewerRules(text, frames, fails)
	without(`(?m)^\t(set|map|chain) [^}]*(\}\n)?[^}]*\}\n`)
	return text, frames[0]
}

// fewerRules takes rules out, in blocks first.
func (l *lab) fewerRules(text string, frames [][]byte, fails func(string, [][]byte) bool) string {
	lines := strings.SplitAfter(text, "\n")
	for size := 16; size > 0; size /= 2 {
		for at := 0; at < len(lines); {
			var less []string
			taken := 0
			for i, line := range lines {
				if i >= at && taken < size && isRule(line) {
					taken++
					continue
				}
				less = append(less, line)
			}
			if taken > 0 && fails(strings.Join(less, ""), frames) {
				lines = less
				continue
			}
			at += size
		}
	}
	return strings.Join(lines, "")
}
