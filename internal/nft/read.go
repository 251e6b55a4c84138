package nft

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Read returns a whole ruleset as values: the live one for the path "", else a file ("-": standard input). JSON is
// decoded as it is. Text is loaded by nft(8) in a scratch namespace with stand-ins for its devices, and read back:
// rules have no handles then. The live ruleset is never touched.
//
// Errors: *fs.PathError (no such file), *ruleset.SyntaxError (JSON), *Error (nft refused; File and Line are the
// user's), *SourceError, ErrPermission, ErrNotInstalled, *NoNamespaceError (text, without root).
func Read(ctx context.Context, path string, stdin io.Reader) (*ruleset.Ruleset, error) {
	if path == "" {
		rs, err := readLive(ctx)
		if err != nil {
			return nil, fmt.Errorf("read ruleset: %w", err)
		}
		return rs, nil
	}
	src, err := ReadSource(path, stdin)
	if err != nil {
		return nil, err
	}
	if !src.json() {
		return readText(ctx, src)
	}
	r, err := ruleset.Decode([]byte(src.Text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.Name, err)
	}
	return r, nil
}

// ErrJSON is an nft(8) that crashes while it lists the ruleset as JSON, or as the text that Read wants beside it.
var ErrJSON = errors.New("nft crashes while it lists this ruleset, a bug of that version: " +
	"1.0.6 does on `tcp option @...` and, in JSON, on some tables with flags (dormant); use a newer nft")

// NoNamespaceError is a machine that does not let an ordinary user make a namespace to load a ruleset in.
type NoNamespaceError struct{ Err error }

// Error says what is not permitted and what can be done.
func (e *NoNamespaceError) Error() string {
	return fmt.Sprintf("reading nft's language without root takes a user namespace of its own, which this machine does not permit (%v): "+
		"run it as root, or give it JSON (nft -j list ruleset)", e.Err)
}

// Unwrap returns the cause.
func (e *NoNamespaceError) Unwrap() error { return e.Err }

// readLive reads the ruleset of this thread's network namespace.
func readLive(ctx context.Context) (*ruleset.Ruleset, error) {
	l, err := listAll(ctx)
	if err != nil {
		return nil, err
	}
	rs, err := l.ruleset()
	if err == nil {
		err = (&Comparison{}).Mark(ctx, rs)
	}
	if _, marked := errors.AsType[*ComparisonError](err); marked {
		err = nil // the rules say it
	}
	return rs, err
}

// rawListing is a ruleset as nft lists it: as JSON, and the heads of it, which have what the JSON leaves out.
type rawListing struct {
	json  []byte
	heads heads
}

// listAll lists the ruleset of this thread's network namespace, with the elements of sets.
func listAll(ctx context.Context) (rawListing, error) {
	l, err := listBoth(ctx, "-j", "list", "ruleset")
	if refused, ok := errors.AsType[*Error](err); ok && refused.Crashed {
		return l, ErrJSON
	}
	return l, err
}

// listBoth lists the heads of the ruleset, and the ruleset as JSON as it is told. A large one takes half a second as JSON,
// and nearly as long as text: only heads are listed as text.
func listBoth(ctx context.Context, asJSON ...string) (l rawListing, err error) {
	if l.json, err = run(ctx, "list", "", "", asJSON...); err != nil {
		return l, err
	}
	text, err := run(ctx, "list", "", "list chains\nlist sets\nlist maps\nlist flowtables\n", "-t", "-f", "-")
	if err != nil {
		return l, err
	}
	l.heads = parseHeads(string(text))
	return l, l.heads.askTables()
}

// ruleset decodes a listing.
func (l rawListing) ruleset() (*ruleset.Ruleset, error) {
	doc, err := l.heads.mend(l.json)
	if err != nil {
		return nil, err
	}
	r, err := ruleset.Decode(doc)
	if err != nil {
		return nil, fmt.Errorf("what nft lists: %w", err)
	}
	l.heads.complete(r)
	return r, nil
}
