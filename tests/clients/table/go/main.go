// The calls of the Go clients, one row each: client, call and outcome with tabs between them.
//
//	calls franz-go|sarama|kafka-go --bootstrap host:port --run x7
//
// An outcome is "ok", or the error as the client names it; what a call gets wrong is one too.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	limit   = 30 * time.Second
	base    = int64(1700000000000)
	records = 30
)

var (
	client    string
	bootstrap string
	run       string
)

// call prints a row. A panic of the client is an outcome like any other.
func call(name string, action func() error) {
	fmt.Printf("%s\t%s\t%s\n", client, name, outcome(action))
}

func outcome(action func() error) (said string) {
	defer func() {
		if thrown := recover(); thrown != nil {
			said = fmt.Sprintf("panic: %v", thrown)
		}
	}()
	if err := action(); err != nil {
		return named(err)
	}
	return "ok"
}

// named gives an error's first words, up to where they may differ from run to run.
func named(err error) string {
	text := err.Error()
	if code := codeOf(err); code != "" {
		return code
	}
	// sarama's say where they are from before they say what they are.
	text = strings.TrimPrefix(text, "kafka server: ")
	text, _, _ = strings.Cut(text, " - ")
	if at := strings.IndexAny(text, ":.\n"); at > 0 {
		text = text[:at]
	}
	return text
}

var errWrong = errors.New("wrong")

func must(holds bool, got ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("%w %v", errWrong, got)
}

// until asks again until it says yes: for what takes a moment by its nature.
func until(done func() bool) error {
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			return errors.New("timed out")
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "which client?")
		os.Exit(2)
	}
	client = os.Args[1]
	flags := flag.NewFlagSet("calls", flag.ExitOnError)
	flags.StringVar(&bootstrap, "bootstrap", "", "host:port")
	flags.StringVar(&run, "run", "", "what names begin with")
	_ = flags.Parse(os.Args[2:])
	switch client {
	case "franz-go":
		franz()
	case "sarama":
		saramaCalls()
	case "kafka-go":
		kafkaGo()
	default:
		fmt.Fprintln(os.Stderr, "no such client")
		os.Exit(2)
	}
}
