package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Saved is a ruleset as it was, for Restore. It is kept table by table, so that only those have to be touched which
// loading changes: For says what may be changed, Loaded finds out what was.
type Saved struct {
	Tables     []SavedTable `json:"tables"`     // in the order in which nft lists them
	Generation uint32       `json:"generation"` // of the ruleset
	Reach      Reach        `json:"reach"`
	// Settled says that Changed is known: tables that loading changed, removed or made.
	Settled bool     `json:"settled,omitempty"`
	Changed []string `json:"changed,omitempty"`
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
	tables, generation, err := tablesNow(ctx, true)
	if err != nil {
		return Saved{}, fmt.Errorf("save ruleset: %w", err)
	}
	s := Saved{Tables: tables, Generation: generation}
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

// Loaded finds out which tables loading has changed, to be called right after it: what others change later is theirs.
// Of tables that the source does not reach, all changes are.
func (s *Saved) Loaded(ctx context.Context) error {
	live, _, err := tablesNow(ctx, false)
	if err != nil {
		return fmt.Errorf("look at the loaded ruleset: %w", err)
	}
	s.Changed, s.Settled = s.changed(live), true
	return nil
}

// changed names the tables within reach that are other than saved.
func (s *Saved) changed(live []SavedTable) []string {
	now := map[string]SavedTable{}
	for _, t := range live {
		now[t.String()] = t
	}
	var out []string
	for _, t := range s.Tables {
		l, there := now[t.String()]
		delete(now, t.String())
		if s.Reach.holds(t) && (!there || l.Rules != t.Rules) {
			out = append(out, t.String())
		}
	}
	for _, t := range live {
		if _, made := now[t.String()]; made && s.Reach.names(t) {
			out = append(out, t.String())
		}
	}
	return out
}

// tablesNow lists the tables as one moment saw them: a generation that moved meanwhile starts it over.
func tablesNow(ctx context.Context, state bool) ([]SavedTable, uint32, error) {
	for range saveTries {
		before, err := generation()
		if err != nil {
			return nil, 0, err
		}
		tables, err := listTables(ctx, state)
		after, gerr := generation()
		if gerr != nil {
			return nil, 0, gerr
		}
		if before != after {
			continue // an error may be of a table that went away
		}
		return tables, after, err
	}
	return nil, 0, errors.New("it changes all the time")
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

// tableNames reads nft's text: its JSON of a dormant table is that of freed memory (nft 1.0.6).
func tableNames(ctx context.Context) ([]SavedTable, error) {
	text, err := run(ctx, "list", "", "", "list", "tables")
	if err != nil {
		return nil, err
	}
	var out []SavedTable
	for line := range strings.Lines(string(text)) {
		var t SavedTable
		if _, err := fmt.Sscanf(line, "table %s %s", &t.Family, &t.Name); err != nil {
			return nil, fmt.Errorf("read list of tables: %q: %w", line, err)
		}
		out = append(out, t)
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
