<?php
$push = curl_init('http://127.0.0.1:8080/v3/push');
curl_setopt_array($push, [
    CURLOPT_HTTPHEADER => ['Authorization: Bearer demoTokenForLocalUse2026', 'Idempotency-Key: order-1003'],
    CURLOPT_POSTFIELDS => '{"platform":"all","audience":{"alias":["anna"]},"notification":{"alert":"Hello"}}',
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_TIMEOUT => 30,
]);
echo curl_exec($push), "\n";
