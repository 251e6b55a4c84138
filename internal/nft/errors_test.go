package nft

import "testing"

func TestError_IncludedFile_SaysWhatIsWrongThere(t *testing.T) {
	for text, want := range map[string]string{
		"/x.nft:1:7-8: Error: syntax error\ntable x y": "/x.nft:1:7-8: Error: syntax error",
		"In file included from /dev/stdin:3:1-30:\n                 from /y.nft:1:1-9:\n./x.nft:1:7-8: Error: syntax error\ntable x y": "./x.nft:1:7-8: Error: syntax error",
		"In file included from nowhere": "In file included from nowhere",
		"":                              "",
	} {
		e := &Error{Op: "restore", Text: text}
		if got := e.Error(); got != "restore ruleset: "+want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
