package nft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Saved is a ruleset as it was, for Restore. It is kept table by table, so that only tables which are different later
// have to be touched.
type Saved struct {
	Tables []SavedTable `json:"tables"` // in the order in which nft lists them
}

// SavedTable is one table in nft's own words.
type SavedTable struct {
	Family string `json:"family"`
	Name   string `json:"name"`
	Text   string `json:"text"`  // with counters, quotas and elements: what is put back
	Rules  string `json:"rules"` // the same without what packets change: what is compared
	// Broken is why nft does not take its own words back; empty where it does.
	Broken string `json:"broken,omitempty"`
}

// String names the table as nft does.
func (t SavedTable) String() string { return t.Family + " " + t.Name }

// replace is a transaction that puts the table in place of the one of the same name.
func (t SavedTable) replace() string { return t.remove() + t.Text }

// remove is a transaction that leaves no table of this name, whether there is one or not.
func (t SavedTable) remove() string {
	return fmt.Sprintf("table %s %s\ndelete table %s %s\n", t.Family, t.Name, t.Family, t.Name)
}

// saveTries bounds how often Save begins anew because somebody changed the ruleset under its hands.
const saveTries = 20

// Save reads the live ruleset in a form that Restore can put back. Nothing is changed. It takes two runs of nft a table
// and one for all.
func Save(ctx context.Context) (Saved, error) {
	tables, err := tablesNow(ctx, true)
	if err != nil {
		return Saved{}, fmt.Errorf("save ruleset: %w", err)
	}
	s := Saved{Tables: tables}
	if err := s.check(ctx); err != nil {
		return Saved{}, fmt.Errorf("save ruleset: %w", err)
	}
	return s, nil
}

// check finds the tables that nft cannot read back: those that iptables-nft made contain what only iptables-nft reads.
func (s *Saved) check(ctx context.Context) error {
	refused, err := s.try(ctx, s.Tables...)
	if err != nil || refused == nil {
		return err
	}
	found := false
	for i := range s.Tables {
		t := &s.Tables[i]
		one, err := s.try(ctx, *t)
		if err != nil {
			return err
		}
		if one != nil {
			t.Broken, found = reason(one), true
		}
	}
	if !found {
		return refused // only all of them together
	}
	return nil
}

// try asks nft whether it would put tables back.
func (s *Saved) try(ctx context.Context, tables ...SavedTable) (*Error, error) {
	var text strings.Builder
	for _, t := range tables {
		text.WriteString(t.replace())
	}
	_, err := run(ctx, "check saved", "", text.String(), "-c", "-f", "-")
	refused, ok := errors.AsType[*Error](err)
	if ok {
		return refused, nil
	}
	return nil, err
}

// tablesNow lists the tables as one moment saw them: a generation that moved meanwhile starts it over.
func tablesNow(ctx context.Context, state bool) ([]SavedTable, error) {
	for range saveTries {
		before, err := generation()
		if err != nil {
			return nil, err
		}
		tables, err := listTables(ctx, state)
		after, gerr := generation()
		if gerr != nil {
			return nil, gerr
		}
		if before != after {
			continue // an error may be of a table that went away
		}
		return tables, err
	}
	return nil, errors.New("it changes all the time")
}

func listTables(ctx context.Context, state bool) ([]SavedTable, error) {
	tables, err := tableNames(ctx)
	if err != nil {
		return nil, err
	}
	for i := range tables {
		t := &tables[i]
		rules, err := run(ctx, "list", "", "", "-s", "list", "table", t.Family, t.Name)
		if err != nil {
			return nil, err
		}
		t.Rules = string(rules)
		if !state {
			continue
		}
		text, err := run(ctx, "list", "", "", "list", "table", t.Family, t.Name)
		if err != nil {
			return nil, err
		}
		t.Text = string(text)
	}
	return tables, nil
}

func tableNames(ctx context.Context) ([]SavedTable, error) {
	doc, err := run(ctx, "list", "", "", "-j", "list", "tables")
	if err != nil {
		return nil, err
	}
	var list struct {
		Nftables []struct {
			Table *SavedTable `json:"table"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(doc, &list); err != nil {
		return nil, fmt.Errorf("read list of tables: %w", err)
	}
	var out []SavedTable
	for _, o := range list.Nftables {
		if o.Table != nil {
			out = append(out, SavedTable{Family: o.Table.Family, Name: o.Table.Name})
		}
	}
	return out, nil
}

// generation is the number of the ruleset in this thread's network namespace: every transaction raises it, packets do
// not (NFT_MSG_GETGEN, net/netfilter/nf_tables_api.c).
func generation() (uint32, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, fmt.Errorf("read ruleset generation: %w", err)
	}
	defer func() { _ = conn.Close() }()
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN), Flags: netlink.Request},
		Data:   make([]byte, nfgenLen),
	})
	if err != nil {
		return 0, fmt.Errorf("read ruleset generation: %w", err)
	}
	for _, m := range msgs {
		if len(m.Data) < nfgenLen {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[nfgenLen:])
		if err != nil {
			return 0, fmt.Errorf("read ruleset generation: %w", err)
		}
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return beUint32(ad.Bytes()), nil
			}
		}
	}
	return 0, errors.New("read ruleset generation: the kernel does not say")
}

// Keeps reports whether a saved ruleset can be put back after the source was loaded: every table that nft cannot read
// back is one that the source leaves alone. The error is an *UnsavedError.
func (s Saved) Keeps(src Source) error {
	for _, t := range s.Tables {
		if t.Broken == "" {
			continue
		}
		touched, err := src.touches(t)
		if err != nil {
			return fmt.Errorf("look for table %s in the ruleset: %w", t, err)
		}
		if touched {
			return &UnsavedError{Table: t.String(), Reason: t.Broken}
		}
	}
	return nil
}

// touches reports whether a source may change a table. It may err on the side of yes.
func (s Source) touches(t SavedTable) (bool, error) {
	if s.json() {
		doc, err := parseJSON(s)
		if err != nil {
			return false, err
		}
		found := false
		for _, c := range doc.commands {
			visit(c, func(v any) {
				if o, ok := v.(obj); ok && (o["name"] == t.Name || o["table"] == t.Name || hasKey(o, "ruleset")) {
					found = true
				}
			})
		}
		return found, nil
	}
	toks, err := (&expander{dir: s.Dir}).expand(s.Name, s.Text, 0)
	if err != nil {
		return false, err
	}
	ws := words(toks)
	return slices.ContainsFunc(ws, func(w token) bool { return w.is("ruleset") }) || names(ws, t), nil
}

func hasKey(o obj, key string) bool {
	_, ok := o[key]
	return ok
}

// names reports whether words name a table: behind its family, or behind another word where ip was left out.
func names(ws []token, t SavedTable) bool {
	for i := 1; i < len(ws); i++ {
		before := ws[i-1]
		if ws[i].text != t.Name || before.kind != tokenWord || before.is("type") {
			continue
		}
		if before.text == t.Family || t.Family == "ip" && !isFamily(before.text) {
			return true
		}
	}
	return false
}
