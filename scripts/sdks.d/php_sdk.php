<?php
require 'vendor/autoload.php';

[$appKey, $token] = ['7d431e42dfa6a6d693ac2d04', 'demoTokenForLocalUse2026'];
// The last argument: it sends a push once, and not again after a time-out.
$client = new JPush\Client($appKey, $token, null, 1);

print_r($client->push()
    ->setPlatform('all')
    ->addAlias('anna')
    ->setNotificationAlert('Hello')
    ->send());
