package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"time"
)

var bootstrap = os.Getenv("FLOE_BOOTSTRAP")

// check runs one feature's check and reports it as a JSON line; any panic is a failure.
func check(feature string, run func()) {
	started := time.Now()
	result, reason := "pass", ""
	func() {
		defer func() {
			if trouble := recover(); trouble != nil {
				result, reason = "fail", fmt.Sprint(trouble)
			}
		}()
		run()
	}()
	line, _ := json.Marshal(struct {
		Feature string `json:"feature"`
		Result  string `json:"result"`
		Reason  string `json:"reason"`
	}{feature, result, reason})
	fmt.Println(string(line))
	fmt.Fprintf(os.Stderr, "%s took %v\n", feature, time.Since(started))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(actual, expected any, what string) {
	if !reflect.DeepEqual(actual, expected) {
		panic(fmt.Sprintf("%s: expected %.150s, got %.150s", what, fmt.Sprint(expected), fmt.Sprint(actual)))
	}
}

// until polls a condition for up to 30 seconds.
func until(what string, condition func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic("in 30 s it did not come true: " + what)
		}
	}
}

var topics = 0

func newTopic() string {
	topics++
	return fmt.Sprintf("topic-%d", topics)
}
