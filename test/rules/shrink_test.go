package rules_test

import (
	"regexp"
	"strings"
)

// shrink looks for one frame and as little of a ruleset as it takes for a failure to stay. What still fails is told by
// calling fails.
func (l *lab) shrink(text string, frames [][]byte, fails func(string, [][]byte) bool) {
	for len(frames) > 1 {
		half := frames[:len(frames)/2]
		switch {
		case fails(text, half):
			frames = half
		case fails(text, frames[len(half):]):
			frames = frames[len(half):]
		default:
			return // it takes several
		}
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
	text = fewerRules(text, frames, fails)
	without(`(?m)^\t(set|map|chain) [^}]*(\}\n)?[^}]*\}\n`)
	text = fewerRules(text, frames, fails)
	for shorter := true; shorter && len(frames[0]) > 14; {
		less := [][]byte{frames[0][:len(frames[0])-max(1, (len(frames[0])-14)/4)]}
		if shorter = fails(text, less); shorter {
			frames = less
		}
	}
}

// fewerRules takes rules out, many at a time first.
func fewerRules(text string, frames [][]byte, fails func(string, [][]byte) bool) string {
	lines := strings.SplitAfter(text, "\n")
	for size := 32; size > 0; size /= 2 {
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

// cutQuiet takes the tables out of a listing that the lab adds by itself.
func cutQuiet(listing string) (before, after string, found bool) {
	return strings.Cut(listing, "table inet quiet")
}
