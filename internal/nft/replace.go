package nft

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Replace loads a source as it is, in place of tables ("inet filter"), in one transaction. On any error the live ruleset
// is as it was. Errors are those of Load.
func Replace(ctx context.Context, src Source, tables []string) error {
	text, lines, err := src.behind(tables)
	if err != nil {
		return fmt.Errorf("restore ruleset: %w", err)
	}
	p := program{text: text, where: func(line int) (string, int) {
		if src.json() {
			return src.Name, 0
		}
		return src.Name, max(line-lines, 1)
	}}
	return p.run(ctx, src, "restore")
}

// behind is the text of a source behind the removal of tables, and how many lines that takes.
func (s Source) behind(tables []string) (text string, lines int, err error) {
	if s.json() {
		text, err = s.behindJSON(tables)
		return text, 0, err
	}
	var b strings.Builder
	for _, t := range tables {
		// Twice the same table is made and deleted twice.
		fmt.Fprintf(&b, "table %s\ndelete table %s\n", t, t)
	}
	lines = strings.Count(b.String(), "\n")
	b.WriteString(s.Text)
	return b.String(), lines, nil
}

func (s Source) behindJSON(tables []string) (string, error) {
	doc, err := parseJSON(s)
	if err != nil {
		return "", err
	}
	var all []obj
	for _, t := range tables {
		family, name, _ := strings.Cut(t, " ")
		for _, verb := range []string{"add", "delete"} {
			all = append(all, obj{verb: obj{"table": obj{"family": family, "name": name}}})
		}
	}
	text, err := json.Marshal(obj{"nftables": append(all, doc.commands...)})
	if err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	return string(text), nil
}
