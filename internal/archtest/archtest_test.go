package archtest_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module is what the import paths of the module's packages begin with.
const module = "github.com/patchbay-go/patchbay/"

// goPackage is what these tests know of a package: its source files, whatever
// their build constraints are.
type goPackage struct {
	path        string // import path inside the module, such as drivers/fake
	files       map[string]*ast.File
	imports     []string
	testImports []string
}

// modulePackages reads the packages of the module from its source. Unlike what
// `go list` prints, the files that a test opens are known to go test's cache.
func modulePackages(t *testing.T) []goPackage {
	t.Helper()
	const root = "../.."
	packages := make(map[string]goPackage)
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && file != root && otherTree(file):
			return filepath.SkipDir
		case e.IsDir() || filepath.Ext(file) != ".go":
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p, ok := packages[dir]
		if !ok {
			p = goPackage{path: filepath.ToSlash(dir), files: make(map[string]*ast.File)}
		}
		if strings.HasSuffix(file, "_test.go") {
			p.testImports = append(p.testImports, importsOf(f)...)
		} else {
			p.imports = append(p.imports, importsOf(f)...)
			p.files[filepath.Base(file)] = f
		}
		packages[dir] = p
		return nil
	})
	if err != nil {
		t.Fatalf("reading the module's source: %v", err)
	}
	return slices.SortedFunc(maps.Values(packages), func(a, b goPackage) int { return strings.Compare(a.path, b.path) })
}

// otherTree says whether a directory holds none of the module's packages.
func otherTree(dir string) bool {
	name := filepath.Base(dir)
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func importsOf(f *ast.File) []string {
	var paths []string
	for _, s := range f.Imports {
		paths = append(paths, strings.Trim(s.Path.Value, "\"`"))
	}
	return paths
}

// standard tells a package of the standard library by the rule that the go
// command itself reserves: the first element of its path has no dot.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// covered says whether one of the allowed paths covers an imported one.
func covered(allowed []string, imported string) bool {
	imported = strings.TrimPrefix(imported, module)
	return slices.ContainsFunc(allowed, func(a string) bool {
		prefix, below := strings.CutSuffix(a, "/...")
		return imported == prefix || below && strings.HasPrefix(imported, prefix+"/")
	})
}

func (r rule) matches(p goPackage) bool {
	ok, err := path.Match(r.pattern, p.path)
	return err == nil && ok
}

// check returns a sentence for each import that the rules forbid.
func check(rules []rule, testLibraries []string, packages []goPackage) []string {
	var wrong []string
	for _, p := range packages {
		i := slices.IndexFunc(rules, func(r rule) bool { return r.matches(p) })
		if i < 0 {
			wrong = append(wrong, p.path+": no rule covers this package: give it one")
			continue
		}
		r := rules[i]
		for _, imported := range p.imports {
			if !standard(imported) && !covered(r.may, imported) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which it may not: %s", p.path, imported, r.why))
			}
		}
		for _, imported := range p.testImports {
			ours := strings.HasPrefix(imported, module)
			if !standard(imported) && !ours && !covered(r.may, imported) && !covered(testLibraries, imported) {
				wrong = append(wrong, fmt.Sprintf("the tests of %s import %s: tests get by with testing, go-cmp and rapid", p.path, imported))
			}
		}
	}
	return wrong
}

func TestArrows(t *testing.T) {
	for _, sentence := range check(rules, testLibraries, modulePackages(t)) {
		t.Error(sentence)
	}
}

// TestEveryRuleMatches keeps the table free of rules whose package is gone.
func TestEveryRuleMatches(t *testing.T) {
	packages := modulePackages(t)
	for _, r := range rules {
		if !slices.ContainsFunc(packages, r.matches) {
			t.Errorf("no package matches the rule %q", r.pattern)
		}
	}
}

// TestOnlyOpenersNameCodecs holds that a driver says in one place which wire
// formats it speaks, and moves messages without a look inside anywhere else.
func TestOnlyOpenersNameCodecs(t *testing.T) {
	for _, p := range modulePackages(t) {
		if !strings.HasPrefix(p.path, "drivers/") {
			continue
		}
		for name, f := range p.files {
			if slices.Contains(importsOf(f), module+"messaging/wire") && !declares(f, "Open") {
				t.Errorf("%s/%s imports messaging/wire: only the file with the driver's Opener may", p.path, name)
			}
		}
	}
}

func declares(f *ast.File, function string) bool {
	return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Name.Name == function
	})
}

// TestCheck shows that the checker finds what it is there to find.
func TestCheck(t *testing.T) {
	rules := []rule{
		{"core", nil, "it is the core"},
		{"drivers/one", []string{"core", "example.com/lib", "example.com/tree/..."}, "it is a driver"},
		{"drivers/*", []string{"core"}, "it is another driver"},
	}
	tests := []struct {
		name string
		give goPackage
		want []string
	}{
		{
			name: "standard library and what is allowed",
			give: goPackage{path: "drivers/one", imports: []string{"net/http", "example.com/lib", "example.com/tree/x", module + "core"}},
		},
		{
			name: "the core imports a driver",
			give: goPackage{path: "core", imports: []string{"context", module + "drivers/one"}},
			want: []string{"core imports " + module + "drivers/one, which it may not: it is the core"},
		},
		{
			name: "the first rule that matches counts",
			give: goPackage{path: "drivers/two", imports: []string{"example.com/lib"}},
			want: []string{"drivers/two imports example.com/lib, which it may not: it is another driver"},
		},
		{
			name: "a path that only begins like an allowed one",
			give: goPackage{path: "drivers/one", imports: []string{"example.com/library", "example.com/lib/sub", "example.com/treetop"}},
			want: []string{
				"drivers/one imports example.com/library, which it may not: it is a driver",
				"drivers/one imports example.com/lib/sub, which it may not: it is a driver",
				"drivers/one imports example.com/treetop, which it may not: it is a driver",
			},
		},
		{
			name: "a package without a rule",
			give: goPackage{path: "utils"},
			want: []string{"utils: no rule covers this package: give it one"},
		},
		{
			name: "tests may import the module, test libraries and what their package may",
			give: goPackage{
				path:        "drivers/one",
				testImports: []string{"testing", "example.com/lib", "example.com/cmp", module + "drivers/two"},
			},
		},
		{
			name: "tests import another library",
			give: goPackage{path: "core", testImports: []string{"example.com/assert"}},
			want: []string{"the tests of core import example.com/assert: tests get by with testing, go-cmp and rapid"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := check(rules, []string{"example.com/cmp"}, []goPackage{tt.give})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
		})
	}
}
