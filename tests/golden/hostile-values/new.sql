UPDATE t SET v='</table><img src=x onerror=alert(1)>' WHERE id=1;
