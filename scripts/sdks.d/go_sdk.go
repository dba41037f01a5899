package main

import (
	"context"
	"fmt"

	"github.com/cavlabs/jiguang-sdk-go/api/jpush/device/platform"
	"github.com/cavlabs/jiguang-sdk-go/api/jpush/push"
)

func main() {
	api, err := push.NewAPIv3Builder().
		SetHost("http://127.0.0.1:8080").
		SetAppKey("7d431e42dfa6a6d693ac2d04").
		SetMasterSecret("demoTokenForLocalUse2026").
		Build()
	if err != nil {
		panic(err)
	}
	answer, err := api.Send(context.Background(), &push.SendParam{
		Platform:     platform.All,
		Audience:     &push.Audience{Aliases: []string{"anna"}},
		Notification: &push.Notification{Alert: "Hello"},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(answer.MsgID, answer.Error)
}
