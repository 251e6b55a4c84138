package why

import "github.com/nft-offload/nft-offload/internal/engine"

// Answer is what there is to say of one flow, device or rule.
type Answer struct {
	Subject string `json:"subject"` // "tcp 10.0.0.5:40000 > 1.2.3.4:443", "device eth0"
	Stage   Stage  `json:"stage"`
	// Reason is a code of the datapath, of a device or of a rule that says more than the stage; may be empty.
	Reason   string   `json:"reason,omitempty"`
	Sentence string   `json:"sentence"`
	Evidence []Line   `json:"evidence"`
	Advice   []string `json:"advice"`
	Good     bool     `json:"fast"` // nothing has to be done

	Connection *Connection      `json:"conntrack,omitempty"`
	Entries    []engine.Flow    `json:"entries,omitempty"`
	Refused    []engine.Refused `json:"refused,omitempty"`
	In         string           `json:"in,omitempty"`
	Out        string           `json:"out,omitempty"`
}

// Line is one line of evidence.
type Line struct {
	What string `json:"what"` // "conntrack"
	Text string `json:"text"`
}

// verdict is the first stage that does not hold.
type verdict struct {
	stage    Stage
	reason   string
	sentence string // without what begins it and without the period
	advice   []string
}

func advise(texts ...string) []string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}
