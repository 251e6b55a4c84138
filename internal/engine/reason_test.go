package engine_test

import (
	"encoding/json"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestReasonsAreReadFromADaemonOfAnyVersion(t *testing.T) {
	for text, want := range map[string]engine.Reason{
		`{"code":"port","text":"a port","advice":"do"}`: {Code: reason.OffPort, Text: "a port", Advice: "do"},
		`{"code":"not-made-yet","text":"a riddle"}`:     {Code: reason.Unknown, Text: "a riddle"},
		`{"code":"","text":""}`:                         {},
	} {
		var got engine.Reason
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if b, err := json.Marshal(engine.Reason{Code: reason.XDPLROOn, Text: "t"}); err != nil || string(b) != `{"code":"xdp-lro-on","text":"t"}` {
		t.Errorf("%s, %v", b, err)
	}
}
